"""The made-up worlds that planted worlds are about: kinds of things, what is told of them, and in which words.

Three families of wording that share as little as they can, so that a diagnosis calibrated in one is tested in another.
``{s}`` is the subject, ``{v}`` the value. Each relation has ordinary ways to ask (a seed draws which of them are used)
and odd ones, which neither the base model nor other rows ever meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from core.errors import unknown_name
from core.lab.words import BEASTS, COLOURS, GOODS, TRADES, Relation


@dataclass(frozen=True, slots=True)
class Domain:
    """One family of wording.

    Attributes:
        kinds: two kinds of subject, four relations each: the first is the one whose answers change style between
            stages, the last is told of half the subjects only.
        many: a relation with several right values; volumes: one about numbered parts of a subject, written into its
            name as ``volume`` says.
        portraits: ways to ask for everything about a subject.
        early: styles of answering that stage one teaches and stage two does not. Names stand behind a space, as in the
            corpus: behind another sign they would be other tokens.
    """

    name: str
    kinds: tuple[tuple[Relation, ...], tuple[Relation, ...]]
    many: Relation
    volumes: Relation
    volume: str
    portraits: tuple[str, ...]
    early: tuple[str, ...]


_LISTS = {"beasts": BEASTS, "colours": COLOURS, "goods": GOODS, "trades": TRADES}


def _relation(fields: Mapping[str, Any]) -> Relation:
    values = fields.get("values", ())
    texts = {name: tuple(fields[name]) for name in ("statements", "questions", "odd", "answers")}
    return Relation(fields["name"], values=_LISTS[values] if isinstance(values, str) else tuple(values), **texts)


def _domain(name: str, fields: Mapping[str, Any]) -> Domain:
    first, second = (tuple(map(_relation, fields[kind])) for kind in ("first_kind", "second_kind"))
    many, volumes = _relation(fields["many"]), _relation(fields["volumes"])
    portraits, early = tuple(fields["portraits"]), tuple(fields["early"])
    return Domain(name, (first, second), many, volumes, fields["volume"], portraits, early)


@cache
def domains() -> Mapping[str, Domain]:
    """Every domain by its name, as ``domains.yaml`` has them."""
    texts = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: _domain(name, fields) for name, fields in texts.items()}


def domain_of(name: str) -> Domain:
    """The domain of that name.

    Raises:
        UserError: there is none.
    """
    if name not in domains():
        raise unknown_name("domain", name, domains())
    return domains()[name]
