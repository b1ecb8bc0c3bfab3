"""Words for the names that kinds have in exports and addresses: what a page shows instead of them."""

from __future__ import annotations

from core.plugins import kinds
from core.services import causes

CAUSE_COLUMNS = ("cause", "study_cause")


def label(register: str, name: str) -> str:
    """What a kind is called on pages; the name itself where there is no such kind any more."""
    member = kinds(register).get(name)
    return name if member is None else member.label


def value(column: str, content: object) -> str:
    """A value of a verdict table's column, as people read it."""
    return causes.look(str(content)).label if column in CAUSE_COLUMNS else str(content)
