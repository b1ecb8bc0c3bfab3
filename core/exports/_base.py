"""What an export for a trainer is, and what it is given."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import yaml

from core.errors import UserError
from core.formats._layouts import Layout
from core.recipes._base import Training

DATA = "mitigation.jsonl"
# Usual for LoRA on a finished model; a recipe asks for a part or a multiple of it.
LEARNING_RATE = 1e-4
# One device; a person with more divides by their number.
ROWS_AT_ONCE = 1


@dataclass(frozen=True, slots=True)
class Lora:
    """Shape of an adapter.

    ``targets``: names of modules, or one pattern as PEFT takes it; empty for all linear ones. ``dropout``: None is
    usual.
    """

    r: int = 16
    alpha: float = 32
    targets: tuple[str, ...] | str = ()
    dropout: float | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a trainer must know of a mitigation.

    Attributes:
        model: folder of the model to start from; ``base``: its base where it is an adapter that goes on.
        template: the model's chat template, empty where it has none.
        format: what a person calls the shape of the rows.
        layout: how the rows are laid out; None where no layout says it.
        columns: the columns that training reads.
        training: how the recipe wants to be trained.
        loss_on_prompt: whether the run's trainer put loss on what comes before an answer too.
        max_length: tokens of a row.
        seed: of the recipe.
        title: one line for the head of the file.
        trainer: the preset of the run; its export writes ``own``, the run's own keys.
        lora: the adapter to train; None: all weights are trained.
        rate: learning rate; None: the usual one for going on, as the recipe multiplies it.
        templated: folder whose chat template the training takes, where ``model`` has another or none; else empty.
        plain: whether all rows are plain text in turns: no calls of tools, no reasoning, no content in parts.
    """

    model: str
    base: str | None
    template: str
    format: str
    layout: Layout | None
    columns: tuple[str, ...]
    training: Training
    loss_on_prompt: bool
    max_length: int
    seed: int
    title: str
    trainer: str = ""
    own: Mapping[str, Any] = field(default_factory=dict)
    lora: Lora | None = Lora()
    rate: float | None = None
    templated: str = ""
    plain: bool = True

    @property
    def learning_rate(self) -> float:
        return LEARNING_RATE * self.training.rate if self.rate is None else self.rate

    def own_keys(self, export: str) -> dict[str, Any]:
        """The keys with which the run was trained, for the export of its own trainer; none for the others."""
        return dict(self.own) if export == self.trainer else {}


class Export(Protocol):
    """The configuration of one trainer: what ``KIND`` of a file in this folder is, a subclass with all of this.

    Every mitigation is written for every trainer.

    Attributes:
        name: the file's name; ``label`` is what a person calls the trainer.
        version: the trainer's release whose keys are written.
    """

    name: str
    label: str
    version: str

    @abstractmethod
    def files(self, bundle: Bundle) -> Mapping[str, str]:
        """File name to text. The names are taken relative to the folder that holds the rows, a file named ``DATA``.

        Where the rows are kept in order (``training.sequential``), the trainer must be told not to shuffle.
        ``configuration`` writes YAML, ``remarks`` are the comments that every file carries.

        Raises:
            UserError: the trainer cannot be told how the rows are laid out (``inexpressible``); the mitigation is
                written without this configuration, and says why.
        """


def steps(training: Training) -> tuple[int, int]:
    """(rows at a time, steps gathered) whose product is the batch the order was made for."""
    return ROWS_AT_ONCE, training.batch // ROWS_AT_ONCE


def names(lora: Lora) -> list[str] | str:
    """The modules as a trainer that hands them on to PEFT takes them."""
    return lora.targets if isinstance(lora.targets, str) else list(lora.targets)


def configuration(head: Sequence[str], values: Mapping[str, Any]) -> str:
    """A YAML file: comment lines, then the values in their order. Every value reads back with its type."""
    comments = "".join(f"# {line}\n" for text in head for line in text.splitlines())
    # Plain YAML reads 5e-05 as text; the writer knows, and writes 5.0e-05.
    return comments + "\n" + yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True, width=math.inf)


def remarks(bundle: Bundle) -> list[str]:
    """Comment lines that every configuration carries."""
    comments = [bundle.title, *bundle.training.notes]
    if bundle.training.sequential:
        comments.append("Shuffling is off: the order of the rows is part of the recipe.")
    if bundle.templated:
        comments.append(f"The chat template of the training lies in {bundle.templated}; the base has another or none.")
    if bundle.lora is not None and bundle.lora.alpha != int(bundle.lora.alpha):
        comments.append(f"lora_alpha was {bundle.lora.alpha:g}: round it where the trainer takes whole numbers only.")
    return comments


def inexpressible(export: Export, bundle: Bundle) -> UserError:
    """The error where a trainer cannot be told how the rows are laid out."""
    return UserError(
        f"{export.label} has no configuration for rows of the format “{bundle.format}”.",
        "It cannot be told where their questions and answers are.",
        "Convert the rows to messages, or write the configuration by hand.",
    )
