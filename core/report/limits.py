"""Limits that a run must keep: ``unlearned>0.15`` as text, parsed, and held against what was counted."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from core.errors import UserError, unknown_name
from core.types import Status

# Partly and unlearned together, as everywhere.
NOT_LEARNED = "not_learned"
# Faults that hold for the whole run.
FAULTS = "faults"
# Rows of the dataset that could not be read.
REJECTED = "rejected"
CAUSE = "cause:"

_OPERATORS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FORM = re.compile(r"\s*([A-Za-z_][\w:]*)\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?|\.\d+)\s*(%?)\s*")
_EXAMPLE = "For example 'unlearned>0.15' (a share of the samples) or 'cause:base_conflict>20' (a number of samples)."


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition under which a run fails.

    Attributes:
        text: as a person wrote it.
        name: a status, ``not_learned``, ``cause:<name>``, ``faults`` or ``rejected``.
        share: whether ``value`` is a share in [0, 1] of the samples, not a number of them.
    """

    text: str
    name: str
    op: str
    value: float
    share: bool

    def passed_by(self, count: int, total: int) -> bool:
        """Whether the measured number goes past the limit, so that the run fails. Of no samples, no share does."""
        if self.share and not total:
            return False
        return _OPERATORS[self.op](count / total if self.share else count, self.value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A limit held against a run. ``unknown``: it could not be judged, for the reason ``why``."""

    limit: Limit
    state: Literal["pass", "fail", "unknown"]
    count: int
    total: int
    why: str = ""

    @property
    def text(self) -> str:
        """One line: the state, the limit, what was measured."""
        word = {"pass": "pass", "fail": "FAIL", "unknown": "UNKNOWN"}[self.state]
        return f"{word} {self.limit.text}: {self.measured}"

    @property
    def measured(self) -> str:
        if self.state == "unknown":
            return self.why
        if self.limit.name == FAULTS:
            return f"{self.count:,}"
        of = "rows" if self.limit.name == REJECTED else "samples"
        share = f"{self.count / self.total:.4g}, " if self.limit.share and self.total else ""
        return f"{share}{self.count:,} of {self.total:,} {of}"


def names(causes: Iterable[str]) -> list[str]:
    """Everything a limit can be on."""
    return [*(s.value for s in Status), NOT_LEARNED, FAULTS, REJECTED, *(CAUSE + cause for cause in causes)]


def parse(text: str, causes: Iterable[str]) -> Limit:
    """The limit that ``text`` states.

    A number with a decimal point or a percent sign is a share of the samples, a whole number is a number of them.

    Raises:
        UserError: it is none; names the value and the choices.
    """
    known = names(causes)
    if not (found := _FORM.fullmatch(text)):
        raise UserError(
            f"{text!r} is not a limit.",
            f"A limit is a name, one of {', '.join(_OPERATORS)}, and a number. Names are: {', '.join(known)}.",
            _EXAMPLE,
        )
    name, op, number, percent = found.groups()
    if name not in known:
        raise unknown_name("limit", name, known)
    share = bool(percent) or "." in number
    value = float(number) / (100 if percent else 1)
    if share and (value > 1 or name == FAULTS):
        why = "The run's faults are counted." if name == FAULTS else "A share lies between 0 and 1, or 0% and 100%."
        raise UserError(f"{text!r} is not a limit.", why, f"Write a whole number to count. {_EXAMPLE}")
    return Limit(text.strip(), name, op, value, share)
