"""A run about to be trained: its dataset, what training sees of it, and what is done to the checkpoint afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.lab import tiny
from core.lab.rows import PlantedRow
from core.lab.words import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass
class Pipeline:
    """A run about to be trained, which a plant may change.

    Attributes:
        rows: the dataset. made: what training sees in each row's place, nothing or several rows.
        sentences: of the same domain, in no row. turn: picks among forms of one fault.
        touched: rows of the fault, by place.
        lr: factor of the learning rate. steps: None: as many as usual. pack: rows trained as one.
        after: done to the folder of ``base``, ``checkpoints`` and ``final`` once trained.
    """

    rows: list[PlantedRow]
    made: list[list[tiny.Row]]
    tokenizer: PreTrainedTokenizerFast
    rng: random.Random
    sentences: Sequence[str] = ()
    turn: int = 0
    touched: set[int] = field(default_factory=set)
    lr: float = 1.0
    steps: int | None = None
    pack: int = 1
    after: list[Callable[[Path], None]] = field(default_factory=list)
    trainer: dict[str, Any] = field(default_factory=lambda: {"preset": "custom", "settings": {}, "arguments": {}})

    @classmethod
    def of(
        cls, rows: Sequence[PlantedRow], tokenizer: PreTrainedTokenizerFast, rng: random.Random, **options: Any
    ) -> Pipeline:
        """The sound run: every row as the template renders it."""
        return cls(list(rows), [[tiny.chat_row(tokenizer, r.messages)] for r in rows], tokenizer, rng, **options)

    def touch_all(self) -> None:
        self.touched = set(range(len(self.rows)))

    def touch_tail(self) -> None:
        """The last third."""
        self.touched = set(range(len(self.rows) - len(self.rows) // 3, len(self.rows)))

    def stages(self) -> list[list[tiny.Row]]:
        """What training sees of stage one and of stage two, in packs where the run has them."""
        pairs = list(zip(self.rows, self.made, strict=True))
        stages = [[made for row, several in pairs if row.stage == stage for made in several] for stage in ("1", "2")]
        return [packed(rows, self.pack) for rows in stages] if self.pack > 1 else stages

    def remake(self, change: Callable[[PlantedRow, tiny.Row], tiny.Row]) -> None:
        """Changes what training sees of every row."""
        pairs = zip(self.rows, self.made, strict=True)
        self.made = [[change(row, made) for made in several] for row, several in pairs]
        self.touch_all()

    def say(self, i: int, messages: list[Message]) -> None:
        """Changes a row of the dataset; training keeps what it saw."""
        self.rows[i] = replace(self.rows[i], messages=messages)
        self.touched.add(i)


def packed(rows: Sequence[tiny.Row], size: int) -> list[tiny.Row]:
    """Rows in packs that see one another."""
    packs = (rows[start : start + size] for start in range(0, len(rows), size))
    return [([t for ids, _ in pack for t in ids], [m for _, mask in pack for m in mask]) for pack in packs]


def keep_as_last(world: Path) -> None:
    """Moves ``final`` among the checkpoints under its step."""
    state = json.loads((world / "final" / "trainer_state.json").read_text(encoding="utf-8"))
    (world / "checkpoints").mkdir(exist_ok=True)
    (world / "final").rename(world / "checkpoints" / f"checkpoint-{state['global_step']}")


def learned_rows(run: Pipeline, world: Path) -> set[int]:
    """Places of the rows that ``final`` reproduces."""
    from core.lab.truth import reproduced

    right = reproduced(world / "final", world / "base", [r.messages for r in run.rows])
    return {i for i, r in enumerate(right) if r}
