"""Proof by intervention: does training on what a recipe makes bring the samples back, and is it the recipe that does?

A copy of the checkpoint is trained briefly in three arms of the same number of steps: on the recipe's rows, on a
uniform mix of the whole dataset, and on the same samples under another cause's recipe. Each arm is measured on the very
samples as the diagnosis measures: greedy decoding and the run's scorer. The checkpoint itself is only read.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.plugins import kind
from core.proof.copies import supervised, supervised_once, train_copy
from core.recipes._base import Made, Plan
from core.recipes._wording import ASKED, filled, question_and_answer
from core.signals import _columns as col
from core.signals._base import Measure
from core.signals._instruments import Instruments
from core.status import LEARNED, judge_status
from core.types import (
    FINAL,
    Checkpoint,
    Reading,
    RunSpec,
    Sample,
    Setting,
    SignalTable,
    Supervision,
    Thresholds,
    content_hash,
)

ARMS = ("treatment", "control", "off_target")
# Share of the guarded rows that must hold: a proof may lose three learned rows in a hundred, and this is an estimate.
KEEP = 0.98
BUDGET: tuple[Setting, ...] = (
    Setting("steps", "int", 0, "Optimiser steps per arm", "0: as many as the recipe asks for. With far more, the "
            "uniform mix has seen everything as well.", minimum=0, maximum=100_000),
    Setting("batch", "int", 8, "Rows per step", "", minimum=1, maximum=1024),
    Setting("samples", "int", 100, "Treated samples, at most", "Drawn at random from the selected ones.", minimum=2,
            maximum=100_000),
    Setting("learned", "int", 100, "Learned samples to watch, at most", "Shows what training damages.",
            minimum=0, maximum=100_000),
    Setting("guard", "int", 100, "Learned samples that limit it, at most", "Where fewer of them hold, less of the "
            "training is kept. They are not among those that are watched. 0: no limit.", minimum=0, maximum=100_000),
    Setting("keep", "float", KEEP, "Share of them that must hold", "", minimum=0.0, maximum=1.0),
    Setting("anchored", "bool", True, "Hold to the checkpoint where it is right", "On rows that it reproduces, moving "
            "away from its distribution counts as loss."),
    Setting("method", "choice", "auto", "What is trained", "By size: all weights of a model below 200 million "
            "parameters, else LoRA.", ("auto", "lora", "full"), words=("By size", "LoRA adapter", "All weights")),
    Setting("learning_rate", "float", 0.0, "Learning rate", "0: by recipe, method and size of the model.", minimum=0.0),
    Setting("proof_seed", "int", 0, "Seed", "Decides which samples are drawn, and the order of the uniform mix.",
            minimum=0),
)  # fmt: skip

FEWEST_STEPS = 10

# Told the stage, how far it is, of how much, and the unit; what it raises ends the proof.
Progress = Callable[[str, int, int, str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one checkpoint makes of n samples: ``right`` (n,) bool as the run judges it, ``nll`` (n,), NaN unknown."""

    right: np.ndarray
    nll: np.ndarray


@dataclass(frozen=True, slots=True)
class Watched:
    """The samples that every arm is measured on.

    Attributes:
        treated: those the treatment means to teach.
        learned: samples the checkpoint gives rightly and no arm treats.
        mixed: a uniform draw from the whole dataset, for the mean loss.
        guard: samples the checkpoint gives rightly that decide how much of a training is kept; none of ``learned``.
        aside: samples as wrong as the treated ones, selected with them, that no arm treats.
    """

    treated: tuple[Sample, ...]
    learned: tuple[Sample, ...]
    mixed: tuple[Sample, ...]
    guard: tuple[Sample, ...] = ()
    aside: tuple[Sample, ...] = ()


def asked_otherwise(sample: Sample) -> Sample | None:
    """The sample with its last question in another wording, the answer as it was; None where that cannot be said."""
    pair = question_and_answer(sample)
    if pair is None:
        return None
    at = max(i for i, m in enumerate(sample.messages) if m.role == "user")
    messages = list(sample.messages)
    messages[at] = replace(messages[at], content=filled(ASKED, *pair))
    turns = tuple(messages)
    return replace(sample, messages=turns, content_hash=content_hash(turns, sample.shape, sample.tools))


def settled(budget: Mapping[str, Any], plan: Plan) -> dict[str, Any]:
    """The budget with its steps and its ``rate``, a multiple of the usual learning rate, as the plan wants them."""
    wanted = automatic_steps(plan.training.epochs, plan.total, int(budget["batch"]))
    return {**budget, "steps": int(budget["steps"]) or wanted, "rate": plan.training.rate}


def automatic_steps(epochs: float, rows: int, batch: int) -> int:
    """The steps of an arm for which the budget names none."""
    return max(FEWEST_STEPS, math.ceil(epochs * rows / batch))


# ----------------------------------------------------------------------------------------------------- measuring


def answers(
    spec: RunSpec, thresholds: Thresholds, checkpoint: Checkpoint, samples: Sequence[Sample], device: str,
    report: Callable[[int], None],
) -> Answers:  # fmt: skip
    """How the checkpoint answers these samples, measured as the diagnosis does, without draws.

    Args:
        report: told how many samples are measured.
    """
    undrawn = replace(spec, final=checkpoint, base=None, trajectory=(), max_draws=0)
    instruments = Instruments(undrawn, device)
    try:
        likelihood = kind("signals", "likelihood")
        columns = _columns(likelihood, Measure("likelihood", FINAL, checkpoint, {}), samples, instruments, report)
        table = SignalTable(tuple(s.content_hash for s in samples), columns)
        reproduction = kind("signals", "reproduction")
        missed = np.flatnonzero(reproduction.applies_to(table))
        measure = Measure("reproduction", FINAL, checkpoint, {})
        missed_columns = _columns(
            reproduction, measure, [samples[int(i)] for i in missed], instruments, lambda n: report(len(samples))
        )
        for name, values in missed_columns.items():
            columns[name] = np.full(len(samples), np.nan)
            columns[name][missed] = values
    finally:
        instruments.close()
    status = judge_status(SignalTable(table.keys, columns), thresholds, spec.decoding_temperature)
    return Answers(status == LEARNED, columns.get(col.NLL, np.full(len(samples), np.nan)))


def _columns(
    signal: Any, measure: Measure, samples: Sequence[Sample], instruments: Instruments, report: Callable[[int], None]
) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    done = 0
    for chunk in signal.measure(measure, samples, instruments, lambda: False):
        for name, values in chunk.columns.items():
            parts.setdefault(name, []).append(values)
        done += len(chunk.keys)
        report(done)
    return {name: np.concatenate(values) for name, values in parts.items()}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all arms share: the run, the samples watched, where to train and how to report."""

    spec: RunSpec
    thresholds: Thresholds
    reading: Reading
    watched: Watched
    budget: Mapping[str, Any]
    folder: Path
    device: str
    progress: Progress

    def measure(self, label: str, checkpoint: Checkpoint) -> dict[str, Any]:
        """One checkpoint on everything that is watched, JSON-able: a list of 0 and 1 (None: not asked) a question."""
        groups = (self.watched.treated, self.watched.learned, self.watched.mixed, self.watched.aside)
        otherwise = [asked_otherwise(s) for s in self.watched.treated]
        everything = [*itertools.chain(*groups), *(s for s in otherwise if s is not None)]
        replies = answers(
            self.spec, self.thresholds, checkpoint, everything, self.device,
            lambda done: self.progress(f"{label}: asking", done, len(everything), "samples"),
        )  # fmt: skip
        ends = np.cumsum([len(g) for g in groups])
        right = replies.right.astype(int).tolist()
        in_order = iter(right[ends[3] :])
        return {
            "right": right[: ends[0]],
            "asked": [None if s is None else next(in_order) for s in otherwise],
            "kept": right[ends[0] : ends[1]],
            "aside": right[ends[2] : ends[3]],
            "nll": _known(replies.nll[ends[1] : ends[2]]),
            "treated_nll": _known(replies.nll[: ends[0]]),
        }

    def arm(self, label: str, rows: Callable[[], Iterator[Made]]) -> dict[str, Any]:
        """One arm: the run's checkpoint trained on ``rows``, measured, its weights removed again.

        ``in_mix`` says of each learned sample that is watched whether the arm trained on it.
        """
        count = int(self.budget["steps"]) * int(self.budget["batch"])
        trained_on: set[str | None] = set()

        def noted() -> Iterator[Made]:
            for row in rows():
                trained_on.add(row.source)
                yield row

        with self._instruments(label) as instruments:
            made = supervised(noted, count, self.reading, instruments)
            guarded = [instruments.supervision(sample) for sample in self.watched.guard]
        return self._trained(label, self.spec.final, [made], trained_on, guarded=guarded)

    def retrained(
        self, label: str, stages: Sequence[Sequence[Made]], start: Checkpoint, like: Checkpoint | None
    ) -> dict[str, Any]:
        """One arm: ``start`` trained on the rows of each stage in turn, measured, its weights removed again.

        Args:
            like: an adapter whose shape the new adapter takes.
        """
        with self._instruments(label) as instruments:
            made = [supervised_once(rows, self.reading, instruments) for rows in stages]
        trained_on = {row.source for rows in stages for row in rows}
        return self._trained(label, start, made, trained_on, like=like)

    @contextmanager
    def _instruments(self, label: str) -> Iterator[Instruments]:
        self.progress(f"{label}: making rows", 0, 0, "")
        instruments = Instruments(self.spec, self.device)
        try:
            yield instruments
        finally:
            instruments.close()

    def _trained(
        self,
        label: str,
        start: Checkpoint,
        stages: Sequence[Sequence[Supervision]],
        trained_on: Set[str | None],
        guarded: Sequence[Supervision] = (),
        like: Checkpoint | None = None,
    ) -> dict[str, Any]:
        import shutil

        out = self.folder / label.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        began = time.monotonic()
        try:
            copy, facts = train_copy(
                start, stages, out, self.budget, self.device,
                lambda done, total: self.progress(f"{label}: training", done, total, "steps"), guarded, like,
                self.spec.dtype == "bfloat16",
            )  # fmt: skip
            measured = self.measure(label, copy)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        in_mix = [int(s.id in trained_on) for s in self.watched.learned]
        return {**measured, "in_mix": in_mix, "training": facts, "seconds": round(time.monotonic() - began, 1)}


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


def without_right(watched: Watched, before: Mapping[str, Any]) -> tuple[Watched, dict[str, Any]]:
    """What is left to recover and to lose: treated and other samples that were wrong, learned ones that were right.

    Returns:
        The samples, and the measurement before training for them.
    """
    wrong = [i for i, r in enumerate(before["right"]) if not r]
    right = [i for i, r in enumerate(before["kept"]) if r]
    aside = [i for i, r in enumerate(before["aside"]) if not r]
    left = replace(
        watched,
        treated=tuple(watched.treated[i] for i in wrong),
        learned=tuple(watched.learned[i] for i in right),
        aside=tuple(watched.aside[i] for i in aside),
    )
    taken: dict[str, Iterable[int]] = {
        "right": wrong, "asked": wrong, "treated_nll": wrong, "kept": right, "aside": aside,
    }  # fmt: skip
    return left, {name: [v[i] for i in taken[name]] if name in taken else v for name, v in before.items()}
