"""The one loop that trains a language model on prepared rows: proofs use it, and the lab's worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    **arguments: Any,
) -> Trainer:
    """Trains ``model`` in place with AdamW and returns the trainer, with its state.

    Args:
        tokenizer: saved beside every checkpoint.
        save_steps: steps after which ``out/checkpoint-<step>`` is written.
        threads: CPU threads of torch meanwhile; None leaves them as they are.
        progress: called with (steps done, steps in all); what it raises ends the training.
        arguments: of transformers' ``TrainingArguments``.
    """
    from transformers import PrinterCallback, Trainer, TrainingArguments

    trainer = Trainer(
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
        train_dataset=list(rows),
        data_collator=collate,
        processing_class=tokenizer,
        callbacks=[_callback(save_steps, progress)],
    )
    trainer.remove_callback(PrinterCallback)  # it writes to stdout
    with _threads(threads):
        trainer.train()
    return trainer


def _callback(save_steps: Iterable[int], progress: Callable[[int, int], None] | None) -> Any:
    """Saves at exactly ``save_steps`` and reports steps done."""
    from transformers import TrainerCallback

    saved = frozenset(save_steps)

    class Follow(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step in saved
            if progress is not None:
                progress(state.global_step, state.max_steps)
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
