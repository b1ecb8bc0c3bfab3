"""The samples of a run grouped by a column, with their statuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.services import people
from core.services.runs import get_run
from core.types import Filter, Term
from db import verdicts as verdict_table
from db.session import database


@dataclass(frozen=True, slots=True)
class Group:
    """Samples with one value of a column, None = not measured or none. ``status``: status to samples."""

    value: Any
    n: int
    status: Mapping[str, int]


def groups(run_id: int, chosen: Filter, by: str) -> tuple[Group, ...]:
    """The groups by a column or by ``tag``, the one with most samples that were not learned first.

    A sample with two tags is in two groups; samples without a tag are in none.
    """
    run = get_run(run_id)
    counts: dict[Any, dict[str, int]] = {}
    with database().reading() as conn:
        if by == "tag":
            for tag, _ in people.tag_counts(run_id, chosen):
                these = Filter((*chosen.terms, Term("tag", "in", (tag,))), chosen.text)
                cells = verdict_table.group_counts(conn, run, ["status"], these)
                counts[tag] = {status: n for (status,), n in cells}
        else:
            for (value, status), n in verdict_table.group_counts(conn, run, [by, "status"], chosen):
                counts.setdefault(value, {})[status] = n
    by_value = [Group(value, sum(status.values()), status) for value, status in counts.items()]
    return tuple(sorted(by_value, key=lambda g: (-_missing(g), -g.n, str(g.value))))


def _missing(group: Group) -> int:
    return group.status.get("partly", 0) + group.status.get("unlearned", 0)
