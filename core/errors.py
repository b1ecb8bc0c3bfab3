"""The one error a person is meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a person can put right.

    Args:
        what: what happened, naming the value.
        why: the reason, naming the choices or the limit.
        todo: the next step.
    """

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        self.what, self.why, self.todo = what, why, todo
        super().__init__(" ".join(part for part in (what, why, todo) if part))

    def as_dict(self) -> dict[str, str]:
        return {"what": self.what, "why": self.why, "todo": self.todo}


def as_sentence(text: str) -> str:
    """A remark such as ``2 of 10 tensors`` as a sentence among others; "" stays empty."""
    return text and text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


class Stopped(UserError):
    """A person stopped it before its end; what was done until then is kept."""


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for a name that does not exist: the value, the choices, the nearest one."""
    choices = sorted(choices)
    near = difflib.get_close_matches(name, choices, n=1)
    return UserError(
        f"There is no {kind} named {name!r}.",
        f"There are: {', '.join(choices) or 'none'}.",
        f"Did you mean {near[0]!r}?" if near else "",
    )
