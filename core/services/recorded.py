"""Checkpoints that only files speak of: what of a file and a dataset meets, and what does not."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import UserError
from core.signals._instruments import Instruments
from core.text.counts import counted
from core.types import Card, Check, Checkpoint, RunSpec
from db import samples as sample_table
from db.session import database

# Rows that a check names; the others are counted.
NAMED = 5


def card_of(spec: RunSpec) -> Card:
    """The card of a run without a model."""
    if spec.final.files:
        text = "No model was given: answers and losses are those of the file."
    else:
        text = "No model was given: only the dataset is judged."
    todo = ""
    if "tokens" not in (spec.final.gives or ()):
        todo = (
            "Masks, truncation and the template can be checked too, with the training's tokenizer: on the command line "
            "with --tokenizer."
        )
    return Card({}, (Check("model", "unknown", text, "", todo),))


def checks_of(spec: RunSpec, most: int | None = None) -> list[Check]:
    """How each file fits the dataset.

    Args:
        most: samples that are looked at; None for all. With fewer than all, rows of the file are not counted.

    Raises:
        UserError: a file is gone, changed or cannot be read.
    """
    return [
        check for checkpoint in spec.checkpoints.values() if checkpoint.files for check in _fit(spec, checkpoint, most)
    ]


def _fit(spec: RunSpec, checkpoint: Checkpoint, most: int | None) -> list[Check]:
    instruments = Instruments(spec)
    record = instruments.record(checkpoint)
    assert record is not None
    silent: list[str] = []
    n = refused = 0
    with database().reading() as conn:
        whole = sample_table.get_dataset(conn, spec.dataset_id).n_samples
        ordinals = None if most is None or most >= whole else range(most)
        for sample in sample_table.iter_samples(conn, spec.dataset_id, ordinals):
            n += 1
            try:
                supervision = instruments.supervision(sample) if instruments.renders() else None
            except UserError:
                refused += 1
                continue
            if record.row(sample, supervision) is None:
                silent.append(sample.id)
    where = f"“{checkpoint.label}”"
    if len(silent) + refused == n:
        return [
            Check(
                "file_fits", "fail", f"No row of the dataset is spoken of in {where}.",
                f"{counted(n, 'row')} looked at.",
                "Give the dataset that the file was made from; see docs/inputs.md for how rows are matched.",
            )
        ]  # fmt: skip
    checks = [Check("file_fits", "pass", f"{where} speaks of {n - len(silent) - refused:,} of {n:,} rows.")]
    if silent:
        text = (
            f"{counted(len(silent), 'row')} of the dataset {_is(silent)} not spoken of in {where}: nothing is judged."
        )
        checks.append(Check("rows_without_record", "warn", text, _named(silent)))
    checks += [Check("record_remarks", "warn", text) for text in record.remarks()]
    loose = record.unmatched() if ordinals is None else []
    if loose:
        text = f"{counted(len(loose), 'row')} of {where} {_is(loose)} no row of the dataset."
        checks.append(Check("records_without_row", "warn", text, _named(loose)))
    return checks


def _is(rows: Sequence[str]) -> str:
    return "is" if len(rows) == 1 else "are"


def _named(rows: Sequence[str]) -> str:
    more = f" and {len(rows) - NAMED:,} more" if len(rows) > NAMED else ""
    return f"{', '.join(rows[:NAMED])}{more}."
