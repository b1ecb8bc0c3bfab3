"""Proof by intervention: does training on what a recipe makes bring the samples back, and is it the recipe that does?

A copy of the checkpoint is trained briefly in three arms of the same number of steps: on the recipe's rows, on a
uniform mix of the whole dataset, and on the same samples under another cause's recipe. Each arm is measured on the very
samples as the diagnosis measures: greedy decoding and the run's scorer. The checkpoint itself is only read.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import UserError
from core.intake.datasets import read_json_row
from core.plugins import kind
from core.proof.trainer import fit
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
BUDGET: tuple[Setting, ...] = (
    Setting("steps", "int", 0, "Optimiser steps per arm", "0: as many as the recipe asks for. With far more, the "
            "uniform mix has seen everything as well.", minimum=0, maximum=100_000),
    Setting("batch", "int", 8, "Rows per step", "", minimum=1, maximum=1024),
    Setting("samples", "int", 100, "Treated samples, at most", "Drawn at random from the selected ones.", minimum=2,
            maximum=100_000),
    Setting("learned", "int", 100, "Learned samples to watch, at most", "Shows what training damages.",
            minimum=0, maximum=100_000),
    Setting("method", "choice", "auto", "What is trained", "By size: all weights of a model below 200 million "
            "parameters, else LoRA.", ("auto", "lora", "full"), words=("By size", "LoRA adapter", "All weights")),
    Setting("learning_rate", "float", 0.0, "Learning rate", "0: by recipe, method and size of the model.", minimum=0.0),
    Setting("proof_seed", "int", 0, "Seed", "Decides which samples are drawn, and the order of the uniform mix.",
            minimum=0),
)  # fmt: skip

FEWEST_STEPS = 10
# Share of the steps over which the rate rises: a fresh optimiser's first steps are the roughest.
WARMUP = 0.1

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
    """

    treated: tuple[Sample, ...]
    learned: tuple[Sample, ...]
    mixed: tuple[Sample, ...]


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


# ------------------------------------------------------------------------------------------------------ training


def as_sample(row: Made, reading: Reading) -> Sample:
    """A row to train on as presets take it."""
    parsed = read_json_row(row.raw, reading)
    hashed = content_hash(parsed.messages, parsed.shape, parsed.tools)
    return Sample(
        row.source or "", 0, 0, parsed.messages, parsed.shape, parsed.tools, None, None, hashed, row.raw, parsed.notes,
        parsed.tokens,
    )  # fmt: skip


def supervised(
    rows: Callable[[], Iterator[Made]], count: int, reading: Reading, instruments: Instruments
) -> list[Supervision]:
    """``count`` rows as the run's trainer makes them, begun anew where they end; rows it refuses are passed over.

    Raises:
        UserError: not one row can be trained on.
    """
    instruments.tokenizer()  # one that cannot be opened is an error of its own, not of the rows
    out: list[Supervision] = []
    while len(out) < count:
        before = len(out)
        for row in itertools.islice(rows(), 4 * count):
            try:
                supervision = instruments.supervision(as_sample(row, reading))
            except UserError:
                continue
            if supervision.dropped is None and supervision.trained[1:].any():
                out.append(supervision)
            if len(out) == count:
                break
        if len(out) == before:
            raise UserError(
                "None of the recipe's rows can be trained on.",
                "The chat template refuses them, or none of their tokens carries loss under the run's preset.",
                "Choose another recipe, or correct the preset of the run.",
            )
    return out


def usual_rate(parameters: int, method: str) -> float:
    """A learning rate for a brief continuation: larger for smaller models and for adapters."""
    small, middle, large = (4e-4, 1e-4, 1e-5) if method == "full" else (2e-3, 5e-4, 2e-4)
    return small if parameters < 10_000_000 else middle if parameters < 200_000_000 else large


def train_copy(
    checkpoint: Checkpoint,
    rows: Sequence[Supervision],
    out: Path,
    budget: Mapping[str, Any],
    device: str,
    progress: Callable[[int, int], None],
) -> tuple[Checkpoint, dict[str, Any]]:
    """Trains a copy on ``rows`` in their order, one batch a step, and writes it into ``out``.

    Returns:
        The trained copy, and facts: method, learning rate, steps, mean loss of the first and the last tenth.
    """
    from core.backends._loading import load, pick_device

    where = pick_device(device)
    outer, inner = load(checkpoint, "float32", where)
    size = sum(p.numel() for p in inner.parameters())
    model, method = _trainable(checkpoint, outer, inner, size, str(budget["method"]))
    learning_rate = float(budget["learning_rate"]) or usual_rate(size, method) * float(budget["rate"])
    steps = len(rows) // int(budget["batch"])
    trainer = fit(
        model,
        [(r.ids, r.trained) for r in rows],
        out,
        # Matrices this small gain nothing from a second thread, and wait long for it on busy cores.
        threads=1 if where.type == "cpu" and size < 10_000_000 else None,
        progress=progress,
        max_steps=steps,
        learning_rate=learning_rate,
        per_device_train_batch_size=int(budget["batch"]),
        train_sampling_strategy="sequential",
        lr_scheduler_type="linear",
        warmup_steps=max(1, round(WARMUP * steps)),
        logging_steps=max(1, steps // 10),
        seed=int(budget["proof_seed"]),
        use_cpu=where.type == "cpu",
    )
    model.save_pretrained(str(out), safe_serialization=True)
    _copy_tokenizer(checkpoint, out)
    losses = [e["loss"] for e in trainer.state.log_history if "loss" in e]
    base = checkpoint.base or (checkpoint.path if method == "lora" else None)
    copy = Checkpoint(str(out), base, None, out.name, f"proof:{out.name}", checkpoint.tokenizer)
    facts = {"method": method, "learning_rate": learning_rate, "steps": trainer.state.global_step,
             "first_loss": losses[0] if losses else None, "last_loss": losses[-1] if losses else None}  # fmt: skip
    return copy, facts


def _trainable(checkpoint: Checkpoint, outer: Any, inner: Any, size: int, method: str) -> tuple[Any, str]:
    """The model with the weights to train unfrozen. An adapter goes on as the adapter it is."""
    if checkpoint.base is not None:
        for name, weight in outer.named_parameters():
            weight.requires_grad_("lora_" in name or "modules_to_save" in name)
        if any(p.requires_grad for p in outer.parameters()):
            return outer.train(), "adapter"
        raise UserError(
            "This adapter cannot be trained on.",
            "Only LoRA adapters have weights that a proof knows how to continue.",
            "Merge it into its base and diagnose the merged model.",
        )
    if method == "auto":
        method = "full" if size < 200_000_000 else "lora"
    if method == "full":
        return inner.requires_grad_(True).train(), method
    from peft import LoraConfig, get_peft_model

    wanted = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    return get_peft_model(inner, wanted).train(), method


def _copy_tokenizer(checkpoint: Checkpoint, out: Path) -> None:
    """The tokenizer's own files byte for byte: saving it anew could change how it splits."""
    import shutil

    from core.checkpoint.facts import TEMPLATE_FILES, TOKENIZER_FILES
    from core.signals._instruments import tokenizer_folder

    source = Path(tokenizer_folder(checkpoint))
    for name in dict.fromkeys((*TOKENIZER_FILES, *TEMPLATE_FILES, "generation_config.json")):
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


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
        groups = (self.watched.treated, self.watched.learned, self.watched.mixed)
        otherwise = [asked_otherwise(s) for s in self.watched.treated]
        everything = [*itertools.chain(*groups), *(s for s in otherwise if s is not None)]
        replies = answers(
            self.spec, self.thresholds, checkpoint, everything, self.device,
            lambda done: self.progress(f"{label}: asking", done, len(everything), "samples"),
        )  # fmt: skip
        ends = np.cumsum([len(g) for g in groups])
        right = replies.right.astype(int).tolist()
        in_order = iter(right[ends[2] :])
        return {
            "right": right[: ends[0]],
            "asked": [None if s is None else next(in_order) for s in otherwise],
            "kept": right[ends[0] : ends[1]],
            "nll": _known(replies.nll[ends[1] : ends[2]]),
            "treated_nll": _known(replies.nll[: ends[0]]),
        }

    def arm(self, label: str, rows: Callable[[], Iterator[Made]]) -> dict[str, Any]:
        """One arm: trained on ``rows`` from the run's checkpoint, measured, its weights removed again.

        ``in_mix`` says of each learned sample that is watched whether the arm trained on it.
        """
        import shutil

        count = int(self.budget["steps"]) * int(self.budget["batch"])
        out = self.folder / label.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        began = time.monotonic()
        instruments = Instruments(self.spec, self.device)
        trained_on: set[str | None] = set()

        def noted() -> Iterator[Made]:
            for row in rows():
                trained_on.add(row.source)
                yield row

        try:
            self.progress(f"{label}: making rows", 0, 0, "")
            made = supervised(noted, count, self.reading, instruments)
        finally:
            instruments.close()
        try:
            copy, facts = train_copy(
                self.spec.final, made, out, self.budget, self.device,
                lambda done, total: self.progress(f"{label}: training", done, total, "steps"),
            )  # fmt: skip
            measured = self.measure(label, copy)
        finally:
            shutil.rmtree(out, ignore_errors=True)
        in_mix = [int(s.id in trained_on) for s in self.watched.learned]
        return {**measured, "in_mix": in_mix, "training": facts, "seconds": round(time.monotonic() - began, 1)}


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else round(float(v), 6) for v in values]


def without_right(watched: Watched, before: Mapping[str, Any]) -> tuple[Watched, dict[str, Any]]:
    """What is left to recover and to lose: treated samples that were wrong, learned ones that were right.

    Returns:
        The samples, and the measurement before training for them.
    """
    wrong = [i for i, r in enumerate(before["right"]) if not r]
    right = [i for i, r in enumerate(before["kept"]) if r]
    left = Watched(tuple(watched.treated[i] for i in wrong), tuple(watched.learned[i] for i in right), watched.mixed)
    taken: dict[str, Iterable[int]] = {"right": wrong, "asked": wrong, "treated_nll": wrong, "kept": right}
    return left, {name: [v[i] for i in taken[name]] if name in taken else v for name, v in before.items()}
