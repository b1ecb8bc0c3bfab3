"""People's judgement as a file: written out, imported by row id, and undone again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from core.errors import UserError
from core.intake.containers import detect_container, read_records
from core.services import people
from core.services.runs import get_run
from core.text.counts import counted
from core.types import Filter, Problem, Run
from db import people as table
from db import samples as sample_table
from db import verdicts as verdict_table
from db.session import database

# More tags in one row are a mistake, and one that takes minutes to write.
MOST_TAGS = 50
# What a person said of a sample, by the names that exports and files of labels share.
COLUMNS = ("human_status", "human_cause", "tags", "note", "author")
# Columns that say something by themselves; a note or an author alone does not.
_SAYING = ("human_status", "human_cause", "tags")
# A file of labels is people's work. More rows than this are a dataset that came to the wrong place.
MOST_LABELS = 100_000
# Rows named one by one where a file does not match; the rest is counted.
NAMED = 50
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Label:
    """What one row of a file says of one sample. ``row``: 1-based row of the file; ``sid``: the sample's id."""

    row: int
    sid: str
    ordinal: int
    status: str | None
    cause: str | None
    tags: tuple[str, ...]
    note: str
    author: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A row of a file that cannot be imported: its 1-based number, the id it names, and why."""

    row: int
    sid: str
    why: str


@dataclass(frozen=True, slots=True)
class Labels:
    """A file of labels, compared with what stands; nothing is written yet.

    Attributes:
        rows: rows that say anything; ``empty``: rows that do not.
        new: labels of samples about which no review stands, or that only add tags.
        same: rows that say what stands already.
        standing: labels that would replace another review.
        mismatches: rows that match no sample or cannot be read, the first ``NAMED`` of ``n_mismatches``.
    """

    name: str
    rows: int
    empty: int
    new: tuple[Label, ...]
    same: int
    standing: tuple[Label, ...]
    mismatches: tuple[Mismatch, ...]
    n_mismatches: int


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file that was imported. ``n``: samples it changed; ``undone``: when that was taken back, else None."""

    id: int
    name: str
    author: str
    n: int
    created: float
    undone: float | None


@dataclass(frozen=True, slots=True)
class Undone:
    """What undoing a file did: samples put back, and ids left alone because someone changed them since."""

    restored: int
    left: tuple[str, ...] = field(default=())


# ------------------------------------------------------------------------------------------------------ writing out


def reviews_of(conn: Connection, run_id: int, ordinals: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Ordinal to the values of ``COLUMNS``; samples of which nobody said anything are left out."""
    reviews, tags = table.overrides_of(conn, run_id, ordinals), table.tags_of(conn, run_id, ordinals)
    by_ordinal = {}
    for ordinal in sorted(reviews.keys() | tags.keys()):
        review = reviews.get(ordinal, {})
        by_ordinal[ordinal] = {
            "human_status": review.get("status"),
            "human_cause": review.get("cause"),
            "tags": list(tags.get(ordinal, ())),
            "note": review.get("reason") or None,
            "author": review.get("author"),
        }
    return by_ordinal


NOTHING: Mapping[str, Any] = {"human_status": None, "human_cause": None, "tags": [], "note": None, "author": None}


def lines(run_id: int, chosen: Filter | None = None) -> Iterator[bytes]:
    """One JSON object per sample of which a person said anything; a file that ``check`` reads."""
    run = get_run(run_id)
    with database().reading() as conn:
        ordinals = verdict_table.ordinals(conn, run, chosen or Filter())
        while batch := list(islice(ordinals, _BATCH)):
            reviews = reviews_of(conn, run_id, batch)
            if reviews:
                rows = verdict_table.judged(conn, run, list(reviews))
                yield from (_line(rows[o], values) for o, values in reviews.items())


def _line(row: Mapping[str, Any], values: Mapping[str, Any]) -> bytes:
    line = {"id": row["sid"], "status": row["status"], "cause": row["cause"], **values}
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def facts(conn: Connection, run: Run) -> dict[str, Any]:
    """What a manifest says of people's judgement: how many samples it covers, and how often verdicts agree."""
    reviewed = len(table.overrides_of(conn, run.id))
    pairs = {name: table.agreement(conn, run, name) for name in ("status", "cause")}
    return {
        "reviewed": reviewed,
        "tagged": len(table.tags_of(conn, run.id)),
        "agreement": {name: {"agree": k, "of": n} for name, (k, n) in pairs.items() if n},
    }


# ------------------------------------------------------------------------------------------------------- taking in


def check(run_id: int, path: Path, author: str = "", name: str = "") -> Labels:
    """Reads a JSONL, JSON, CSV or Parquet file of labels and compares it with what stands. Nothing is written.

    A row names its sample by ``id``, or by ``row``, its 0-based place in the dataset, and says any of ``COLUMNS``.

    Args:
        author: of rows that name none.

    Raises:
        UserError: the file cannot be read, has no column of labels, or holds more than ``MOST_LABELS``.
    """
    run, shown = get_run(run_id), name or path.name
    labelled: list[tuple[int, Mapping[str, Any]]] = []
    mismatches: list[Mismatch] = []
    columns: set[str] = set()
    empty = 0
    for number, record in enumerate(read_records(path, detect_container(path, shown), name=shown), 1):
        if isinstance(record, Problem):
            mismatches.append(Mismatch(number, "", record.text))
            continue
        columns |= record.value.keys()
        if any(_filled(record.value.get(c)) for c in _SAYING):
            labelled.append((number, record.value))
        elif _filled(record.value.get("note")):
            why = f"it has a note, but none of {', '.join(_SAYING)}"
            mismatches.append(Mismatch(number, _text(record.value.get("id")), why))
        else:
            empty += 1
        if len(labelled) + len(mismatches) > MOST_LABELS:
            raise UserError(f"{shown} holds more than {MOST_LABELS:,} labels.", "", "Split the file.")
    _check_columns(shown, columns)
    matched, unknown = _matched(run, labelled, author)
    return _compared(run, shown, matched, [*mismatches, *unknown], len(labelled), empty)


def _check_columns(name: str, columns: set[str]) -> None:
    if not columns & set(_SAYING):
        raise UserError(
            f"{name} holds no labels.",
            f"Its columns are: {', '.join(sorted(columns)[:30]) or 'none'}.",
            f"Labels stand in the columns {', '.join(COLUMNS)}.",
        )
    if not columns & {"id", "row"}:
        raise UserError(
            f"{name} does not say which samples its labels belong to.",
            f"Its columns are: {', '.join(sorted(columns)[:30])}.",
            "Add a column id, as verdicts.jsonl has it, or row, counted from 0.",
        )


def _filled(value: Any) -> bool:
    return value not in (None, "", [])


def _text(value: Any) -> str:
    """The value as text that can be stored: a lone surrogate, which no sample has, becomes a question mark."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def _matched(
    run: Run, labelled: Sequence[tuple[int, Mapping[str, Any]]], author: str
) -> tuple[list[Label], list[Mismatch]]:
    """The rows as labels of samples, and those that are none."""
    with database().reading() as conn:
        by_row: dict[str, str] = {}
        if any("id" not in value for _, value in labelled):
            order = sample_table.order(conn, run.spec.dataset_id)
            by_row = {str(row): sid for row, sid in zip(order["row"], order["sid"], strict=True)}
        named = [_text(v["id"]) if "id" in v else by_row.get(_text(v.get("row")), "") for _, v in labelled]
        known = verdict_table.of_sids(conn, run, list(dict.fromkeys(named)), ())
    by_ordinal: dict[int, Label] = {}
    mismatches = []
    for (number, value), sid in zip(labelled, named, strict=True):
        if sid not in known:
            asked = f"id {_text(value['id'])[:80]!r}" if "id" in value else f"row {_text(value.get('row'))[:80]}"
            mismatches.append(Mismatch(number, sid, f"run {run.id} has no sample with {asked}"))
            continue
        try:
            label = _label(number, sid, known[sid]["ordinal"], value, author)
        except UserError as error:
            mismatches.append(Mismatch(number, sid, " ".join(p for p in (error.what, error.why) if p)))
            continue
        earlier = by_ordinal.get(label.ordinal)
        if earlier is not None:
            mismatches.append(Mismatch(number, sid, f"row {earlier.row} names the same sample; that one counts"))
            continue
        by_ordinal[label.ordinal] = label
    return list(by_ordinal.values()), mismatches


def _label(number: int, sid: str, ordinal: int, value: Mapping[str, Any], author: str) -> Label:
    """Raises UserError for a status, cause, tag or author that cannot be kept."""
    status, cause = (_text(value.get(c)).strip() or None for c in ("human_status", "human_cause"))
    people.check_names(status, cause)
    listed = value.get("tags") or []
    parts = listed if isinstance(listed, list) else _text(listed).split(";")
    if len(parts) > MOST_TAGS:
        raise UserError(f"It has {len(parts):,} tags.", f"A sample takes {MOST_TAGS} from a file at most.")
    tags = tuple(dict.fromkeys(people.tag_named(_text(part)) for part in parts if _text(part).strip()))
    by = (_text(value.get("author")).strip() or author.strip())[: people.LONGEST]
    if not by:
        raise UserError("It has no author.", "Name one in the column author, or for the whole file.")
    note = _text(value.get("note")).strip()[: people.LONGEST]
    if note and status is None and cause is None:
        raise UserError("It has a note, but neither human_status nor human_cause.", "A note belongs to a review.")
    return Label(number, sid, ordinal, status, cause, tags, note, by)


def _compared(
    run: Run, name: str, labels: Sequence[Label], mismatches: Sequence[Mismatch], rows: int, empty: int
) -> Labels:
    ordinals = [label.ordinal for label in labels]
    with database().reading() as conn:
        reviews, tags = table.overrides_of(conn, run.id, ordinals), table.tags_of(conn, run.id, ordinals)
    new, standing, same = [], [], 0
    for label in labels:
        review = reviews.get(label.ordinal)
        reviews_it = label.status is not None or label.cause is not None
        says_so = review is not None and _of(review) == _of_label(label)
        if reviews_it and review is not None and not says_so:
            standing.append(label)
        elif (not reviews_it or says_so) and set(label.tags) <= set(tags.get(label.ordinal, ())):
            same += 1
        else:
            new.append(label)
    ordered = sorted(mismatches, key=lambda m: m.row)
    return Labels(name, rows, empty, tuple(new), same, tuple(standing), tuple(ordered[:NAMED]), len(ordered))


def _of(review: Mapping[str, Any]) -> tuple[Any, ...]:
    return review["status"], review["cause"], review["author"], review["reason"]


def _of_label(label: Label) -> tuple[Any, ...]:
    return label.status, label.cause, label.author, label.note


def take(run_id: int, labels: Labels, replace: bool = False) -> LabelFile | None:
    """Writes the labels, all or none; what stands is replaced only with ``replace``. None where nothing is new."""
    chosen = [*labels.new, *(labels.standing if replace else ())]
    if not chosen:
        return None
    ordinals = [label.ordinal for label in chosen]
    with database().writing() as conn:
        reviews, tags = table.overrides_of(conn, run_id, ordinals), table.tags_of(conn, run_id, ordinals)
        changes = []
        for label in chosen:
            before = reviews.get(label.ordinal)
            change: dict[str, Any] = {"ordinal": label.ordinal, "sid": label.sid}
            if label.status is not None or label.cause is not None:
                if before is not None and not replace and _of(before) != _of_label(label):
                    continue  # someone reviewed it since the file was compared
                table.set_override(
                    conn, run_id, label.ordinal, status=label.status, cause=label.cause, author=label.author,
                    reason=label.note,
                )  # fmt: skip
                change["before"] = None if before is None else _kept(before)
                change["after"] = list(_of_label(label))
            change["tags"] = [t for t in label.tags if t not in tags.get(label.ordinal, ())]
            table.add_tags(conn, run_id, [label.ordinal], change["tags"], label.author)
            changes.append(change)
        authors = ", ".join(sorted({label.author for label in chosen}))[: people.LONGEST]
        file_id = table.add_label_file(conn, run_id, labels.name, authors, changes)
    return next(f for f in label_files(run_id) if f.id == file_id)


def _kept(review: Mapping[str, Any]) -> dict[str, Any]:
    return {name: review[name] for name in ("status", "cause", "author", "reason", "created")}


def label_files(run_id: int) -> list[LabelFile]:
    """Files imported for the run, newest first."""
    with database().reading() as conn:
        return [
            LabelFile(f["id"], f["name"], f["author"], len(f["changes"]), f["created"], f["undone"])
            for f in table.label_files_of(conn, run_id)
        ]


def undo(run_id: int, file_id: int | None = None) -> Undone:
    """Puts back what a file changed; by default the newest that was not undone. Later changes by people stay.

    Raises:
        UserError: there is no such file, or it was undone.
    """
    with database().writing() as conn:
        files = [f for f in table.label_files_of(conn, run_id) if f["undone"] is None]
        wanted = next((f for f in files if file_id in (None, f["id"])), None)
        if wanted is None:
            which = "No file of labels" if file_id is None else f"File of labels {file_id} was undone before, or none"
            raise UserError(f"{which} was imported for run {run_id}.", "", "There is nothing to undo.")
        changes = wanted["changes"]
        ordinals = [c["ordinal"] for c in changes]
        reviews, left = table.overrides_of(conn, run_id, ordinals), []
        for change in changes:
            ordinal = change["ordinal"]
            if "after" in change:
                review = reviews.get(ordinal)
                if review is None or list(_of(review)) != change["after"]:
                    left.append(change["sid"])
                    continue
                table.remove_override(conn, run_id, ordinal)
                if (before := change["before"]) is not None:
                    kept = {name: before[name] for name in ("status", "cause", "author", "reason")}
                    table.set_override(conn, run_id, ordinal, **kept, clock=partial(float, before["created"]))
            table.remove_tags(conn, run_id, [ordinal], change["tags"])
        table.set_undone(conn, wanted["id"])
    return Undone(len(changes) - len(left), tuple(left))


def sentence(labels: Labels) -> str:
    """What a file of labels would change, in one line."""
    parts = [counted(len(labels.new), "new label"), f"{labels.same:,} already here"]
    parts += [f"{len(labels.standing):,} would replace another review"] if labels.standing else []
    parts += [f"{counted(labels.n_mismatches, 'row')} without a match"] if labels.n_mismatches else []
    parts += [f"{counted(labels.empty, 'row')} without a label"] if labels.empty else []
    return ", ".join(parts)
