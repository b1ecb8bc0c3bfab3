"""Forms drawn from what kinds declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Any

import streamlit as st

from core.services import who
from core.types import Setting
from ui import state


def author(key: str, before: str = "", label: str = "Author", box: Any = st) -> str:
    """Who says something: the person signed in, who cannot name another; else as typed.

    Args:
        before: who said it last, offered first.
    """
    person = who.name()
    given = box.text_input(
        label, value=person or before or state.author(), key=key, max_chars=120, disabled=bool(person)
    )
    return given or ""


def draw(
    settings: Sequence[Setting],
    prefix: str,
    values: Mapping[str, Any] | None = None,
    boxes: Sequence[Any] = (),
    automatic: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One widget a setting, in the order declared.

    Args:
        settings: what the kind takes.
        prefix: tells apart the forms on a page.
        values: what stands at first, else each setting's default.
        boxes: where each one stands; without them one below the other.
        automatic: numbers whose 0 means "by itself", and what their empty field says instead.

    Returns:
        Setting name to value, hidden ones left out; an empty text field for a setting whose default is None gives None.
    """
    initial = values or {}
    out: dict[str, Any] = {}
    for setting, box in zip([s for s in settings if not s.hidden], chain(boxes, repeat(st)), strict=False):
        value = initial.get(setting.name, setting.default)
        empty = (automatic or {}).get(setting.name)
        out[setting.name] = _widget(box, setting, value, state.key("form", prefix, setting.name), empty)
    return out


def choose(box: Any, label: str, words: Mapping[Any, str], key: str, value: Any = None, **more: Any) -> Any:
    """A box in ``box`` with what people read for each value; ``value`` stands at first, or nothing where it is none.

    ``more`` goes to ``st.selectbox``.
    """
    values = list(words)
    index = values.index(value) if value in words else None
    return box.selectbox(label, values, index=index, format_func=words.__getitem__, key=key, **more)


def _widget(box: Any, setting: Setting, value: Any, key: str, empty: str | None = None) -> Any:
    # Declared by our own kinds, so not escaped: a screen reader would read the backslashes out.
    label, help = setting.label, setting.help or None
    if setting.kind == "bool":
        return box.checkbox(label, value=bool(value), key=key, help=help)
    if setting.kind == "choice":
        words = dict(zip(setting.choices, setting.words or setting.choices, strict=True))
        return choose(box, label, words, key, value if value in words else setting.choices[0], help=help)
    if setting.kind in ("int", "float"):
        number = int if setting.kind == "int" else float
        if empty is not None:
            help, value = (help or "").replace("0:", "Empty:", 1) or None, value or None
        given = box.number_input(
            label,
            min_value=None if setting.minimum is None else number(setting.minimum),
            max_value=None if setting.maximum is None else number(setting.maximum),
            value=None if value is None else number(value),
            step=1 if setting.kind == "int" else None,
            key=key,
            help=help,
            placeholder=empty,
        )
        return number(0) if given is None and empty is not None else given
    if setting.choices:  # a text that has usual values
        words = dict(zip(setting.choices, setting.words or setting.choices, strict=True))
        names = [*words, *([value] if value not in words else [])]
        return box.selectbox(
            label, names, index=names.index(value), format_func=lambda v: words.get(v, v), key=key, help=help,
            accept_new_options=True,
        )  # fmt: skip
    text = box.text_input(label, value="" if value is None else str(value), key=key, help=help)
    return None if text == "" and setting.default is None else text
