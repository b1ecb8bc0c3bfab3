"""One row, one setting: what a trainer's own code makes of it, beside what its preset does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.plugins import kind
from core.types import Sample

# A row, the sample that Lacuna makes of it, and whether it was made up here.
Rows = list[tuple[dict[str, Any], Sample, bool]]
# The label that carries no loss, in every trainer.
IGNORED = -100


@dataclass(frozen=True)
class Theirs:
    """Ids and labels of the trainer; both None where it leaves the row out, ``error`` where it stops at it."""

    ids: Sequence[int] | None = None
    labels: Sequence[int] | None = None
    error: str = ""


@dataclass(frozen=True)
class Case:
    """``row``: as it is written in a file; ``kept``: whether it may become a fixture (made up here)."""

    row: Mapping[str, Any]
    sample: Sample
    tokenizer: str
    settings: Mapping[str, Any]
    theirs: Theirs
    kept: bool


@dataclass
class Tally:
    """Counts over the cases of one trainer, and the first disagreements of each sort."""

    counts: Counter[str] = field(default_factory=Counter)
    rows: set[str] = field(default_factory=set)
    settings: set[str] = field(default_factory=set)
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    by_sort: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case, outcome: Mapping[str, bool], more: Mapping[str, Any]) -> None:
        self.rows.add(case.sample.content_hash)
        self.settings.add(json.dumps([case.tokenizer, case.settings], sort_keys=True))
        self.counts["cases"] += 1
        for name, equal in outcome.items():
            self.counts[f"{name}_equal" if equal else f"{name}_differ"] += 1
            if not equal:
                self.by_sort[name] += 1
                if name in ("refused", "dropped"):
                    self.reasons[f"here: {more['ours']}; there: {more['theirs']}"] += 1
                if self.by_sort[name] <= 5:
                    self.disagreements.append(
                        {"what": name, "tokenizer": case.tokenizer, "settings": case.settings, "row": case.row, **more}
                    )

    def summary(self) -> dict[str, Any]:
        counts = {"rows": len(self.rows), "settings": len(self.settings), **dict(sorted(self.counts.items()))}
        return counts | ({"disagreements": dict(self.reasons.most_common())} if self.reasons else {})


def compare(preset: str, case: Case, tokenizer: Any, tally: Tally) -> None:
    """Adds the case to ``tally``: fate of the row first, then ids, then the mask."""
    theirs = case.theirs
    try:
        ours = kind("presets", preset).supervise(case.sample, tokenizer, case.settings, None)
    except UserError as error:
        tally.add(case, {"refused": bool(theirs.error)}, {"ours": str(error)[:300], "theirs": theirs.error})
        return
    if theirs.error:
        tally.add(case, {"refused": False}, {"ours": "trained", "theirs": theirs.error})
        return
    if theirs.ids is None or ours.dropped:
        more = {"ours": ours.dropped or "trained", "theirs": "dropped" if theirs.ids is None else "trained"}
        tally.add(case, {"dropped": theirs.ids is None and bool(ours.dropped)}, more)
        return
    ids, labels = np.asarray(theirs.ids), np.asarray(theirs.labels)
    same = np.array_equal(ids, ours.ids)
    outcome, more = {"ids": same}, {"ours": ours.ids.tolist(), "theirs": ids.tolist()}
    if same:
        carried = labels != IGNORED
        foreign = carried & (labels != ids)  # a label that is not the row's own token: cannot be said by a mask
        tally.counts["foreign_labels"] += int(foreign.sum())
        outcome["mask"] = bool(np.array_equal(carried & ~foreign, ours.trained))
        more |= {"our_mask": ours.trained.astype(int).tolist(), "their_mask": carried.astype(int).tolist()}
    tally.add(case, outcome, more)


# ---------------------------------------------------------------------------------------------------------- fixtures


def runs(mask: Sequence[bool] | np.ndarray) -> list[int]:
    """A mask as lengths of its runs, the first of them without loss."""
    lengths, value = [0], False
    for flag in mask:
        if bool(flag) != value:
            lengths.append(0)
            value = bool(flag)
        lengths[-1] += 1
    return lengths


def fixture(trainer: str, version: str, cases: Iterable[Case]) -> dict[str, Any]:
    """What ``tests/presets/test_twins.py`` compares without the trainer: the trainer's results, rows stated once."""
    rows, settings, listed = dict[str, int](), dict[str, int](), []
    for case in cases:
        theirs = case.theirs
        row = rows.setdefault(json.dumps(case.row, ensure_ascii=False), len(rows))
        chosen = settings.setdefault(json.dumps([case.tokenizer, case.settings], ensure_ascii=False), len(settings))
        if theirs.error:
            listed.append([row, chosen, "stops"])
        elif theirs.ids is None or theirs.labels is None:
            listed.append([row, chosen, "dropped"])
        else:
            ids, labels = np.asarray(theirs.ids), np.asarray(theirs.labels)
            own = runs((labels != IGNORED) & (labels == ids))
            listed.append([row, chosen, " ".join(map(str, theirs.ids)), " ".join(map(str, own))])
    return {
        "trainer": trainer,
        "version": version,
        "rows": [json.loads(text) for text in rows],
        "settings": [json.loads(text) for text in settings],
        "cases": listed,
    }


def write_fixture(path: Path, content: Mapping[str, Any]) -> None:
    """One line a row, a setting and a case, so that a change shows what changed."""

    def lines(items: Sequence[Any]) -> str:
        return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]"

    parts = (f"{json.dumps(k)}: {lines(v) if isinstance(v, list) else json.dumps(v)}" for k, v in content.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


# -------------------------------------------------------------------------------------------------------------- rows


def rows_in(folder: Path, most: int) -> Iterator[dict[str, Any]]:
    """Rows of the JSON and JSONL files in a folder, at most ``most`` of each file; content in parts joined to text."""
    for path in sorted([*folder.rglob("*.json"), *folder.rglob("*.jsonl")]):
        text = path.read_text(encoding="utf-8")
        try:
            rows = (
                [json.loads(line) for line in text.splitlines() if line]
                if path.suffix == ".jsonl"
                else json.loads(text)
            )
        except ValueError:
            continue
        taken = 0
        for row in rows if isinstance(rows, list) else []:
            if taken < most and isinstance(row, dict) and _is_sft(row):
                taken += 1
                yield _flat(row)


def _is_sft(row: Mapping[str, Any]) -> bool:
    if "chosen" in row or "rejected" in row:
        return False
    is_alpaca = isinstance(row.get("instruction"), str) and "output" in row
    return is_alpaca or "messages" in row or "conversations" in row


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in row.items() if k in _COLUMNS}
    for turn in kept.get("messages", ()):
        if isinstance(turn.get("content"), list):
            turn["content"] = "".join(str(part.get("value", part.get("text", ""))) for part in turn["content"])
        turn.pop("loss_weight", None)
    return kept


_COLUMNS = ("messages", "conversations", "system", "tools", "instruction", "input", "output", "history")
