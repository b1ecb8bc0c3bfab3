"""Copies of a checkpoint: made rows as the run's trainer sees them, and a training that leaves its source alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.intake.datasets import read_json_row
from core.proof.anchor import anchors
from core.proof.guard import LOOKS, Guard, reproduced
from core.proof.together import works
from core.proof.trainer import fit
from core.recipes._base import Made
from core.signals._instruments import Instruments
from core.types import Checkpoint, Reading, Sample, Supervision, content_hash

# Share of the steps over which the rate rises: a fresh optimiser's first steps are the roughest.
WARMUP = 0.1


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


def supervised_once(rows: Sequence[Made], reading: Reading, instruments: Instruments) -> list[Supervision]:
    """Each of the rows as the run's trainer makes it, in order; rows it refuses are left out. Equal rows share one."""
    made: dict[bytes, Supervision | None] = {}
    for row in rows:
        if row.raw not in made:
            try:
                supervision = instruments.supervision(as_sample(row, reading))
            except UserError:
                supervision = None
            usable = supervision is not None and supervision.dropped is None and supervision.trained[1:].any()
            made[row.raw] = supervision if usable else None
    return [supervision for row in rows if (supervision := made[row.raw]) is not None]


# Of the usual rate where a checkpoint goes on. On a real model of 135 million parameters the whole of it turned
# more than a quarter of the learned rows on the way and taught less than this did (docs/mitigation.md).
GOING_ON = 0.3
_SMALL, _MIDDLE = 10_000_000, 200_000_000


def usual_rate(parameters: int, method: str) -> float:
    """A learning rate by size: larger for smaller models and for adapters."""
    small, middle, large = (4e-4, 1e-4, 1e-5) if method == "full" else (2e-3, 5e-4, 2e-4)
    return small if parameters < _SMALL else middle if parameters < _MIDDLE else large


def going_on_rate(parameters: int, method: str, part: float) -> float:
    """The rate at which a checkpoint goes on; ``part`` of the usual one is what the recipe asks for.

    Size and recipe each limit the rate, and the lower limit holds, not their product: at a quarter of three tenths
    nothing of a replay was kept on an adapter (docs/mitigation.md).
    """
    gentle = min(part, GOING_ON) if _SMALL <= parameters < _MIDDLE else part
    return usual_rate(parameters, method) * gentle


def train_copy(
    checkpoint: Checkpoint,
    stages: Sequence[Sequence[Supervision]],
    out: Path,
    budget: Mapping[str, Any],
    device: str,
    progress: Callable[[int, int], None],
    guarded: Sequence[Supervision] = (),
    like: Checkpoint | None = None,
    rounded: bool = False,
) -> tuple[Checkpoint, dict[str, Any]]:
    """Trains a copy on the rows in their order, one batch a step, and writes it into ``out``.

    Args:
        stages: rows of one training after the other, each with a rate that rises and falls.
        budget: what ``core.proof.training.BUDGET`` declares, and where the checkpoint goes on ``rate``, the
            part of the usual learning rate that the recipe asks for.
        guarded: rows that should stay right; see ``core.proof.guard``. The budget's ``keep`` is the share of them.
        like: an adapter whose shape a new adapter takes.
        rounded: calculate in bfloat16, unless it is slow here; the weights stay in float32.

    Returns:
        The trained copy, and facts: method, learning rate, steps, the number type it was calculated in, mean loss of
        the first and the last tenth, and under ``guard`` what the guarded rows decided; None where there are none.
    """
    import torch

    from core.backends._loading import load, pick_device
    from core.backends._wide import multiplies_bfloat16

    where = pick_device(device)
    rounded = rounded and (where.type != "cpu" or multiplies_bfloat16())
    outer, inner = load(checkpoint, "float32", where)
    size = sum(p.numel() for p in inner.parameters())
    model, method = _trainable(checkpoint, outer, inner, size, str(budget["method"]), like)
    learning_rate = float(budget["learning_rate"]) or (
        going_on_rate(size, method, float(budget["rate"])) if "rate" in budget else usual_rate(size, method)
    )
    batch = int(budget["batch"])
    counts = [len(rows) // batch for rows in stages]
    total, done, losses = sum(counts), 0, []
    # On a processor every token costs; elsewhere padding is cheap.
    flat = [(r.ids, r.trained) for r in (*itertools.chain(*stages), *guarded) if r.trained[1:].any()]
    close = where.type == "cpu" and works(model, flat, batch)
    calculating = partial(torch.autocast, where.type, torch.bfloat16, enabled=rounded)
    with calculating():
        guard = Guard(model, guarded, float(budget["keep"]), close) if guarded else None
        held = [
            anchors(model, rows, reproduced(model, rows, close), close) if budget["anchored"] else () for rows in stages
        ]
    every = max(1, total // LOOKS)

    def told(step: int, _: int) -> None:
        progress(done + step, total)

    def stop(step: int) -> bool:
        if guard is None or not guard.decides or (done + step) % every:
            return False
        with calculating():
            return guard.look(model, done + step)

    for rows, steps, anchored in zip(stages, counts, held, strict=True):
        if not steps:
            continue
        trainer = fit(
            model,
            [(r.ids, r.trained) for r in rows],
            out,
            # Matrices this small gain nothing from a second thread, and wait long for it on busy cores.
            threads=1 if where.type == "cpu" and size < 10_000_000 else None,
            progress=told,
            stop=stop,
            anchored=anchored,
            side_by_side=close,
            max_steps=steps,
            learning_rate=learning_rate,
            per_device_train_batch_size=batch,
            train_sampling_strategy="sequential",
            lr_scheduler_type="linear",
            warmup_steps=max(1, round(WARMUP * steps)),
            logging_steps=max(1, steps // 10),
            seed=int(budget["proof_seed"]),
            use_cpu=where.type == "cpu",
            bf16=rounded,
        )
        done += trainer.state.global_step
        losses += [e["loss"] for e in trainer.state.log_history if "loss" in e]
        if trainer.state.global_step < steps:
            break
    decided = None
    if guard is not None:
        stopped = done if done < total else None
        with calculating():
            settled = guard.settle(model)
        decided = {**settled, "looks": guard.looks, "stopped": stopped}
    model.save_pretrained(str(out), safe_serialization=True)
    _copy_tokenizer(checkpoint, out)
    base = checkpoint.base or (checkpoint.path if method == "lora" else None)
    copy = Checkpoint(str(out), base, None, out.name, f"proof:{out.name}", checkpoint.tokenizer)
    facts = {"method": method, "learning_rate": learning_rate, "steps": done, "guard": decided,
             "dtype": "bfloat16" if rounded else "float32",
             "first_loss": losses[0] if losses else None, "last_loss": losses[-1] if losses else None}  # fmt: skip
    return copy, facts


def _trainable(
    checkpoint: Checkpoint, outer: Any, inner: Any, size: int, method: str, like: Checkpoint | None
) -> tuple[Any, str]:
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
    from peft import LoraConfig, PeftConfig, get_peft_model

    wanted = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    if like is not None:
        wanted = PeftConfig.from_pretrained(like.path)
        wanted.inference_mode = False
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
