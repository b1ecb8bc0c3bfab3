"""What people say about verdicts, and the filters they keep. Nothing here is touched when a run is judged again."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import UserError, unknown_name
from core.filters import from_query, to_text
from core.services import causes
from core.services.results import ORDER, share
from core.services.runs import get_run
from core.services.views import Share
from core.types import Filter
from db import people as table
from db import verdicts as verdict_table
from db.session import database

# Longest name, author and reason.
LONGEST = 2_000


@dataclass(frozen=True, slots=True)
class Override:
    """What a person says of one sample; None leaves that part to the verdict."""

    status: str | None
    cause: str | None
    author: str
    reason: str
    created: float


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter kept under a name; ``query`` as it stands in the address."""

    id: int
    name: str
    query: str


def statuses() -> tuple[str, ...]:
    return ORDER


def override(run_id: int, sid: str, status: str | None, cause: str | None, author: str, reason: str) -> None:
    """Says what a person thinks of a sample; replaces what was said before.

    Raises:
        UserError: nothing is said, no author or reason is given, or a name that does not exist.
    """
    author, reason = author.strip()[:LONGEST], reason.strip()[:LONGEST]
    if status is None and cause is None:
        raise UserError("The review is empty.", "", "Choose a status or a cause.")
    if status is not None and status not in ORDER:
        raise unknown_name("status", status, ORDER)
    if cause is not None and cause not in causes.values():
        raise unknown_name("cause", cause, causes.values())
    if not author or not reason:
        raise UserError("Author or reason is missing.", "A review without them helps nobody later.", "Fill in both.")
    run = get_run(run_id)
    with database().writing() as conn:
        ordinal = verdict_table.row(conn, run, sid)["ordinal"]
        table.set_override(conn, run_id, ordinal, status=status, cause=cause, author=author, reason=reason)


def withdraw(run_id: int, sid: str) -> None:
    """Takes back what was said of a sample."""
    run = get_run(run_id)
    with database().writing() as conn:
        table.remove_override(conn, run_id, verdict_table.row(conn, run, sid)["ordinal"])


def overrides(run_id: int, ordinals: list[int]) -> dict[int, Override]:
    """Ordinal to what a person said, for those of ``ordinals`` of which anything was said."""
    with database().reading() as conn:
        found = table.overrides_of(conn, run_id, ordinals)
    return {o: Override(r["status"], r["cause"], r["author"], r["reason"], r["created"]) for o, r in found.items()}


def agreement(run_id: int) -> dict[str, Share]:
    """How often the verdict says what a person says, for status and cause; those with nothing said are left out."""
    run = get_run(run_id)
    with database().reading() as conn:
        found = {field: table.agreement(conn, run, field) for field in ("status", "cause")}
    return {field: share(same, n) for field, (same, n) in found.items() if n}


def save_filter(name: str, chosen: Filter) -> None:
    """Keeps the filter under a name; raises UserError where the name is empty or taken, or nothing is filtered."""
    name, query = name.strip()[:120], to_text(chosen)
    if not name:
        raise UserError("A filter needs a name.")
    if not query:
        raise UserError("There is no filter to save.", "", "Set a filter first, then save it.")
    with database().writing() as conn:
        table.save_filter(conn, name, query)


def saved_filters() -> list[SavedFilter]:
    """By name."""
    with database().reading() as conn:
        return [SavedFilter(r["id"], r["name"], r["query"]) for r in table.list_filters(conn)]


def open_filter(run_id: int, saved: SavedFilter) -> Filter:
    """The filter for this run.

    Raises:
        UserError: the run has no column that the filter asks for.
    """
    return from_query(saved.query, get_run(run_id).columns)


def delete_filter(filter_id: int) -> None:
    with database().writing() as conn:
        table.delete_filter(conn, filter_id)
