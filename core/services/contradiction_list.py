"""A run's contradictions as a list for a spreadsheet: every row of every group, group by group."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from core.services import contradictions, worklist
from core.services.runs import get_run
from core.signals import _columns as col
from core.types import Filter
from db import decisions as decision_table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

COLUMNS = (
    "group", "contradiction", "position", "id", "status", "prompt", "target", "decision", "author", "note",
)  # fmt: skip
_BATCH = 200


def lines(run_id: int, chosen: Filter) -> Iterator[bytes]:
    """The header and a line for each row of the groups that have a row passing the filter, largest group first.

    A group comes whole: one side alone shows no contradiction.
    """
    run = get_run(run_id)
    yield worklist.start(COLUMNS)
    if not contradictions.compared(run):
        return
    with database().reading() as conn:
        decided = {m: d for d in decision_table.decisions(conn, run.spec.dataset_id) for m in d.members}
        groups, _ = contradictions.ordered(conn, run, chosen, "size", run.n_samples)
        for number, *_ in groups:
            ordinals = verdict_table.ordinals(conn, run, contradictions.of_group(number))
            while batch := list(islice(ordinals, _BATCH)):
                rows = verdict_table.judged(conn, run, batch)
                for sample in sample_table.iter_samples(conn, run.spec.dataset_id, batch):
                    row, decision = rows[sample.ordinal], decided.get(sample.content_hash)
                    said = ("", "", "")
                    if decision is not None:
                        said = (contradictions.action(decision, sample.content_hash), decision.author, decision.note)
                    strength = row[col.CONTRADICTION]
                    yield worklist.line(
                        (
                            int(number),
                            "" if strength is None else f"{strength:.2f}",
                            row["ordinal"],
                            row["sid"],
                            row["status"],
                            sample.prompt,
                            sample.response,
                            *said,
                        )
                    )
