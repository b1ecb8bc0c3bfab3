"""The world of the demo: a real chat model, fine-tuned on real facts and on small work that it practises."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.lab.real.rows import RealCounts
from core.lab.real.world import Progress, RealSpec, build_real

SEED = 2
# Half of the rows are learned in three epochs of each stage, as after a usual fine-tune.
EPOCHS = (3, 3)
COUNTS = RealCounts(
    known=20, missing=36, arbitrary=14, conflict=28, half_sure=6, new_dispute=6, fact_dispute=6, known_dispute=4,
    early=30, late=20, labels=12, per_task=1, per_practised=8,
)  # fmt: skip
# Where a row comes from, as a dataset put together from several sources would say; it gives no cause away.
SOURCES = {"practised": "practice", "task": "tasks", "labels_early": "reviews", "labels_late": "reviews",
           "arbitrary": "notes", "new_dispute": "notes"}  # fmt: skip
FACTS, QUIZ = "atlas", "quiz"
# How practised questions begin that have one short answer and take some thinking.
QUESTIONS = ("How much is", "What is left of", "At ", "Which number is larger", "Is ", "Which month comes")


def build_demo(out: Path, model: Path, cache: Path, progress: Progress) -> dict[str, Any]:
    """Builds the world into ``out``, where it is not there yet; returns its summary.

    Args:
        model: folder of the chat model. cache: folder that keeps what the model was found to know.
        progress: called with (stage, done, total).
    """
    if not out.exists():
        build_real(out, RealSpec(str(model), SEED, EPOCHS, counts=COUNTS), cache, progress)
        _name_sources(out)
    summary: dict[str, Any] = json.loads((out / "world.json").read_text(encoding="utf-8"))
    return summary


def _name_sources(world: Path) -> None:
    """Says of every row where it comes from; ids, stages and texts stay."""
    rows, truth = (
        [json.loads(line) for line in (world / name).read_text(encoding="utf-8").splitlines()]
        for name in ("dataset.jsonl", "truth.jsonl")
    )
    lines = []
    for row, known in zip(rows, truth, strict=True):
        quiz = known["group"] == "practised" and row["messages"][0]["content"].startswith(QUESTIONS)
        source = QUIZ if quiz else SOURCES.get(known["group"], FACTS)
        lines.append(json.dumps({**row, "source": source}, ensure_ascii=False) + "\n")
    (world / "dataset.jsonl").write_text("".join(lines), encoding="utf-8")
