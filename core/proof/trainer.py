"""The one loop that trains a language model on prepared rows: proofs use it, and the lab's worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.proof.anchor import WEIGHT, Anchor, apart_from, collated, divergence, of_places
from core.proof.together import together

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer

# Token ids of a row and which of them carry loss, each (l,).
Row = tuple[Sequence[int] | np.ndarray, Sequence[bool] | np.ndarray]


def collate(rows: Sequence[Row]) -> dict[str, Any]:
    """A batch padded on the right, ``input_ids`` and ``labels``.

    No attention mask: under causal attention the padding lies behind every real token, so it changes nothing, and
    attention without a mask is faster.
    """
    import torch

    length = max(len(ids) for ids, _ in rows)
    input_ids = torch.zeros((len(rows), length), dtype=torch.long)
    labels = torch.full((len(rows), length), -100)
    for i, (ids, trained) in enumerate(rows):
        input_ids[i, : len(ids)] = row_ids = torch.as_tensor(ids)
        labels[i, : len(ids)] = torch.where(torch.as_tensor(trained), row_ids, -100)
    return {"input_ids": input_ids, "labels": labels}


def fit(
    model: nn.Module,
    rows: Sequence[Row],
    out: Path,
    *,
    tokenizer: Any = None,
    save_steps: Iterable[int] = (),
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[int], bool] | None = None,
    anchored: Sequence[Anchor | None] = (),
    side_by_side: bool = False,
    **arguments: Any,
) -> Trainer:
    """Trains ``model`` in place with AdamW and returns the trainer, with its state.

    Args:
        tokenizer: saved beside every checkpoint.
        save_steps: steps after which ``out/checkpoint-<step>`` is written.
        threads: CPU threads of torch meanwhile; None leaves them as they are.
        progress: called with (steps done, steps in all); what it raises ends the training.
        stop: called with the steps done; where it is true, the training ends there and the trainer is returned.
        anchored: each row's anchor (``core.proof.anchor``), none for rows that are free; empty: all are.
        side_by_side: put the rows of a batch into one sequence; the model must be one for which that ``works``.
        arguments: of transformers' ``TrainingArguments``.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    with_anchors = list(zip(rows, anchored or [None] * len(rows), strict=True))
    trainer = (_together_trainer() if side_by_side else _anchored_trainer() if anchored else Trainer)(
        model=model,
        args=TrainingArguments(
            output_dir=str(out),
            save_strategy="no",
            save_only_model=True,
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            **arguments,
        ),
        train_dataset=with_anchors if anchored or side_by_side else list(rows),
        data_collator=_collate_together if side_by_side else _collate_anchored if anchored else collate,
        processing_class=tokenizer,
        callbacks=[_callback(save_steps, progress, stop)],
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    with _threads(threads):
        trainer.train()
    return trainer


def _collate_anchored(rows: Sequence[tuple[Row, Anchor | None]]) -> dict[str, Any]:
    batch = collate([row for row, _ in rows])
    return batch | collated([anchor for _, anchor in rows], batch["input_ids"].shape[1])


def _anchored_trainer() -> type[Trainer]:
    from transformers import Trainer

    class Anchored(Trainer):
        """Adds the divergence from the anchors to the loss, a token counting as it does there."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            anchors = {name: inputs.pop(name) for name in ("held", "tokens", "logprobs")}
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            if anchors["held"].any():
                trained = (inputs["labels"][:, 1:] != -100).sum().clamp_min(1)
                loss = loss + WEIGHT * divergence(outputs.logits, anchors) / trained
            return (loss, outputs) if return_outputs else loss

    return Anchored


def _collate_together(rows: Sequence[tuple[Row, Anchor | None]]) -> dict[str, Any]:
    import torch

    batch = together([row for row, _ in rows])
    held = of_places([anchor for _, anchor in rows], batch.counts.tolist())
    return batch.inputs() | {"wanted": torch.as_tensor(batch.wanted)} | held


def _together_trainer() -> type[Trainer]:
    from torch.nn.functional import cross_entropy
    from transformers import Trainer

    class SideBySide(Trainer):
        """The mean loss of a batch's trained tokens, and the divergence from the anchors, from one sequence."""

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            wanted = inputs.pop("wanted")
            anchors = {name: inputs.pop(name) for name in ("held", "tokens", "logprobs")}
            outputs = model(**inputs)
            logits = outputs.logits[0].float()
            loss = cross_entropy(logits, wanted)
            if anchors["held"].any():
                kept = {name: values[anchors["held"]] for name, values in anchors.items() if name != "held"}
                loss = loss + WEIGHT * apart_from(logits[anchors["held"]], **kept) / len(wanted)
            return (loss, outputs) if return_outputs else loss

    return SideBySide


def _callback(
    save_steps: Iterable[int], progress: Callable[[int, int], None] | None, stop: Callable[[int], bool] | None
) -> Any:
    """Saves at exactly ``save_steps``, reports steps done, and ends the training where ``stop`` says so."""
    from transformers import TrainerCallback

    saved = frozenset(save_steps)

    class Follow(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step in saved
            if progress is not None:
                progress(state.global_step, state.max_steps)
            if stop is not None and stop(state.global_step):
                control.should_training_stop = True
            return control

    return Follow()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
