"""What an export for a trainer is, and what it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import yaml

from core.recipes._base import Training
from core.types import Reading

DATA = "mitigation.jsonl"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a trainer must know of a mitigation.

    Attributes:
        model: folder of the model to go on from, and its base where it is an adapter.
        reading: how the rows are read; ``conversational`` whether they are turns or become turns.
        assistant_only: loss on answers alone, as the run was trained.
        marked: whether TRL can tell answers apart under the model's chat template.
        max_length: tokens of a row.
        seed: of the recipe.
        title: one line for the head of the file.
    """

    model: str
    base: str | None
    reading: Reading
    training: Training
    assistant_only: bool
    marked: bool
    max_length: int
    seed: int
    title: str


class Export(Protocol):
    """One file in this folder. ``version`` names the trainer's release whose keys are written."""

    name: str
    label: str
    version: str

    def files(self, bundle: Bundle) -> Mapping[str, str]:
        """File name to text. The names are taken relative to the folder that holds the data."""
        ...


# Usual for LoRA on a finished model; a recipe asks for a part or a multiple of it.
LEARNING_RATE = 1e-4
# One device; a person with more divides by their number.
ROWS_AT_ONCE = 1


def steps(training: Training) -> tuple[int, int]:
    """(rows at a time, steps gathered) whose product is the batch the order was made for."""
    return ROWS_AT_ONCE, training.batch // ROWS_AT_ONCE


def configuration(head: Sequence[str], values: Mapping[str, Any]) -> str:
    """A YAML file: comment lines, then the values in their order. Every value reads back with its type."""
    comments = "".join(f"# {line}\n" for text in head for line in text.splitlines())
    # Plain YAML reads 5e-05 as text; the writer knows, and writes 5.0e-05.
    return comments + "\n" + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=math.inf)


def remarks(bundle: Bundle) -> list[str]:
    """Comment lines that every configuration carries."""
    out = [bundle.title, *bundle.training.notes]
    if bundle.training.sequential:
        out.append("Shuffling is off: the order of the rows is part of the recipe.")
    return out
