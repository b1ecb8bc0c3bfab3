"""What people say about verdicts, and the filters they keep. Nothing here is touched when a run is judged again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core.errors import UserError, unknown_name
from core.filters import from_query, to_text
from core.services import causes, who
from core.services.results import ORDER, share
from core.services.runs import get_run
from core.services.views import Share
from core.types import Filter
from db import people as table
from db import verdicts as verdict_table
from db.session import database

# Longest name, author and reason.
LONGEST = 2_000
# In place of a version that a person saw: whatever stands is replaced.
ANY = -1.0
# A word or two; it stands in a chip and in a column of a table.
LONGEST_TAG = 60


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


def override(
    run_id: int, sid: str, status: str | None, cause: str | None, author: str, reason: str, seen: float | None = ANY
) -> None:
    """Says what a person thinks of a sample; replaces what was said before.

    Args:
        seen: ``created`` of the review that the person saw, None where there was none; ``ANY``: whatever stands.

    Raises:
        UserError: nothing is said, no author or reason is given, a name that does not exist, or another person said
            something since.
    """
    author, reason = _checked(status, cause, author, reason)
    with database().writing() as conn:
        (ordinal,) = _ordinals(conn, run_id, [sid])
        _unchanged(table.overrides_of(conn, run_id, [ordinal]).get(ordinal), seen)
        table.set_override(conn, run_id, ordinal, status=status, cause=cause, author=author, reason=reason)


def _unchanged(standing: Mapping[str, Any] | None, seen: float | None) -> None:
    """Raises UserError where what stands is not what the person saw."""
    if seen == ANY or (None if standing is None else standing["created"]) == seen:
        return
    what = "This review was withdrawn" if standing is None else f"{standing['author']} has reviewed this sample"
    raise UserError(f"{what} since you opened it.", "Yours is not saved.", "Look at what stands now, then save again.")


def _signed(author: str) -> str:
    """The name that a judgement carries: of the person signed in, whatever was typed; else as typed."""
    return (who.name() or author.strip())[:LONGEST]


def _checked(status: str | None, cause: str | None, author: str, reason: str) -> tuple[str, str]:
    """Author and reason without white space around them; raises UserError as ``override`` says."""
    author, reason = _signed(author), reason.strip()[:LONGEST]
    if status is None and cause is None:
        raise UserError("The review is empty.", "", "Choose a status or a cause.")
    check_names(status, cause)
    if not author or not reason:
        raise UserError("Author or reason is missing.", "A review without them helps nobody later.", "Fill in both.")
    return author, reason


def check_names(status: str | None, cause: str | None) -> None:
    """Raises UserError for a status or a cause that does not exist; None is neither."""
    if status is not None and status not in ORDER:
        raise unknown_name("status", status, ORDER)
    if cause is not None and cause not in causes.values():
        raise unknown_name("cause", cause, causes.values())


def _ordinals(conn: Connection, run_id: int, sids: Sequence[str]) -> list[int]:
    """The samples' ordinals; raises UserError for an id that the run does not have."""
    run = get_run(run_id)
    rows = verdict_table.of_sids(conn, run, sids, ())
    for sid in sids:
        if sid not in rows:
            raise UserError(f"There is no sample {sid!r} in run {run_id}.", "", "Choose one from the table.")
    return [rows[sid]["ordinal"] for sid in sids]


def override_all(
    run_id: int, sids: Sequence[str], status: str | None, cause: str | None, author: str, reason: str
) -> int:
    """Says the same of many samples at once; raises as ``override``, and then nothing is said. Returns how many."""
    author, reason = _checked(status, cause, author, reason)
    with database().writing() as conn:
        for ordinal in _ordinals(conn, run_id, sids):
            table.set_override(conn, run_id, ordinal, status=status, cause=cause, author=author, reason=reason)
    return len(sids)


def agree(run_id: int, sid: str, author: str) -> None:
    """Says that the verdict on a sample is right; that needs no reason.

    Raises:
        UserError: no author.
    """
    if not (author := _signed(author)):
        raise UserError("The author is missing.", "Agreement counts as a person's.", "Fill in a name.")
    run = get_run(run_id)
    with database().writing() as conn:
        row = verdict_table.row(conn, run, sid)
        table.set_override(
            conn, run_id, row["ordinal"], status=row["status"], cause=row["cause"], author=author,
            reason="",
        )  # fmt: skip


def withdraw(run_id: int, sid: str, seen: float | None = ANY) -> None:
    """Takes back what was said of a sample; ``seen`` as for ``override``."""
    run = get_run(run_id)
    with database().writing() as conn:
        ordinal = verdict_table.row(conn, run, sid)["ordinal"]
        _unchanged(table.overrides_of(conn, run_id, [ordinal]).get(ordinal), seen)
        table.remove_override(conn, run_id, ordinal)


def overrides(run_id: int, ordinals: list[int]) -> dict[int, Override]:
    """Ordinal to what a person said, for those of ``ordinals`` of which anything was said."""
    with database().reading() as conn:
        stored = table.overrides_of(conn, run_id, ordinals)
    return {o: Override(r["status"], r["cause"], r["author"], r["reason"], r["created"]) for o, r in stored.items()}


# ------------------------------------------------------------------------------------------------------------- tags


def tag_named(text: str) -> str:
    """A tag as it is kept: no white space around it.

    Raises:
        UserError: empty, too long, or with a character that separates tags in files.
    """
    tag = " ".join(text.split())
    if not tag or len(tag) > LONGEST_TAG or ";" in tag or not tag.isprintable():
        raise UserError(
            f"{text[:80]!r} is not a tag.",
            f"A tag has 1 to {LONGEST_TAG} printable characters and no semicolon.",
            "Choose another word.",
        )
    return tag


def add_tags(run_id: int, sids: Sequence[str], names: Sequence[str], author: str) -> int:
    """Puts tags on samples; returns how many were new. Raises UserError for a tag that is none, or no author."""
    kept = [tag_named(name) for name in names]
    if not (author := _signed(author)):
        raise UserError("The author is missing.", "A tag says who put it there.", "Fill in a name.")
    with database().writing() as conn:
        return table.add_tags(conn, run_id, _ordinals(conn, run_id, sids), kept, author)


def remove_tags(run_id: int, sids: Sequence[str], names: Sequence[str]) -> int:
    """Takes tags off samples; returns how many were there."""
    with database().writing() as conn:
        return table.remove_tags(conn, run_id, _ordinals(conn, run_id, sids), names)


def tags_of(run_id: int, ordinals: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Ordinal to its tags, for those of ``ordinals`` that have any."""
    with database().reading() as conn:
        return table.tags_of(conn, run_id, ordinals)


def tag_counts(run_id: int, chosen: Filter) -> list[tuple[str, int]]:
    """(tag, samples that pass the filter), the most frequent first; a sample with two tags counts under both."""
    with database().reading() as conn:
        return table.tag_counts(conn, get_run(run_id), chosen)


# -------------------------------------------------------------------------------------------------------- agreement


def agreement(run_id: int) -> dict[str, Share]:
    """How often the verdict says what a person says, for status and cause; those with nothing said are left out."""
    run = get_run(run_id)
    with database().reading() as conn:
        counts = {field: table.agreement(conn, run, field) for field in ("status", "cause")}
    return {field: share(same, n) for field, (same, n) in counts.items() if n}


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
