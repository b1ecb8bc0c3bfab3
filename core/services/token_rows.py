"""Datasets of token ids: their texts, read when the first diagnosis brings the tokenizer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from core.errors import UserError
from core.plugins import kind
from core.services.datasets import BATCH, get_dataset
from core.services.jobs import Work
from core.types import Message, Sample
from db import samples as table
from db.session import database

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from core.rendering.decoding import Decoder

STAGE = "reading token ids"
READ = "the text is what the first diagnosis' tokenizer makes of the ids"


def holds(dataset_id: int) -> bool:
    """Whether the rows of the dataset were tokenised before training."""
    return kind("formats", get_dataset(dataset_id).reading.format).tokenised is not None


def read_texts(work: Work, dataset_id: int, tokenizer: PreTrainedTokenizerFast) -> None:
    """Stores what the ids say in the place of the ids' digits; killed anywhere, a second call goes on.

    Raises:
        UserError: an earlier diagnosis read the ids with a tokenizer that makes other text of them.
    """
    from core.rendering.decoding import Decoder

    decoder = Decoder(tokenizer)
    total, done = get_dataset(dataset_id).n_samples, 0
    for start in range(0, total, BATCH):
        block = range(start, min(start + BATCH, total))
        with database().reading() as conn:
            samples = list(table.iter_samples(conn, dataset_id, block))
        fresh = [sample for sample in samples if READ not in sample.notes]
        before = next((sample for sample in samples if READ in sample.notes), None)
        if before is not None and _messages(before, decoder) != before.messages:
            raise UserError(
                "These token ids were read with another tokenizer before.",
                f"Row {before.row + 1} then said {before.response[:80]!r}; this tokenizer makes other text of it.",
                "Choose the checkpoint that was trained on these rows, or import them again for this one.",
            )
        read = [as_read(sample, _messages(sample, decoder)) for sample in fresh]
        done += len(block)
        work.progress(STAGE, done, total, "rows", partial(table.replace_texts, dataset_id=dataset_id, chunk=read))


def as_read(sample: Sample, messages: tuple[Message, ...]) -> Sample:
    """The sample with its text, and the note that it was read."""
    return replace(sample, messages=messages, notes=(*sample.notes, READ))


def _messages(sample: Sample, decoder: Decoder) -> tuple[Message, ...]:
    return sample.messages if sample.tokens is None else decoder.messages(sample.tokens)
