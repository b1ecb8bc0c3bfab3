"""What was trained of a row: by the preset, or, where the row was tokenised before training, as the row says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.plugins import kind, with_defaults
from core.presets._base import Row, finished
from core.rendering.render import Rendered
from core.rendering.turns import marks
from core.types import Sample, Supervision, Tokens, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def supervision_of(
    preset: str,
    sample: Sample,
    tokenizer: PreTrainedTokenizerFast,
    settings: Mapping[str, Any],
    context_length: int | None = None,
) -> Supervision:
    """What the preset of this name makes of a row; a tokenised row is taken as it is, cut at the preset's length.

    Arguments and errors as in ``Preset.supervise``. What carried loss in a tokenised row is also what is judged: its
    masked tokens may be prompt or left out answers, which ids alone do not tell.

    Raises:
        UserError: an id is not in the tokenizer's vocabulary.
    """
    chosen = kind("presets", preset)
    if sample.tokens is None:
        return chosen.supervise(sample, tokenizer, settings, context_length)
    longest = int(with_defaults(chosen, settings).get(chosen.length_setting) or 0)
    rendered = _rendered(sample.tokens, tokenizer)
    row = Row.of(rendered, np.array(sample.tokens.trained, dtype=bool))
    notes = ["Tokenised before training: ids and loss mask are the row's own."]
    return finished(row.keep(0, longest) if longest else row, rendered, notes, context_length)


def _rendered(tokens: Tokens, tokenizer: PreTrainedTokenizerFast) -> Rendered:
    if (largest := max(tokens.ids)) >= len(tokenizer):
        raise UserError(
            f"The row holds the token id {largest:,}, which this tokenizer does not have.",
            f"Its ids end at {len(tokenizer) - 1:,}. Another tokenizer made the row.",
            "Give the checkpoint that was trained on these rows, with the tokenizer that made them.",
        )
    stops = marks(tokenizer, tokenizer.eos_token).ids
    spans = [(a, b) for role, a, b in tokens.segments() if role != "user"]
    turns = tuple(Turn(a, b, tokens.ids[b - 1] in stops) for a, b in spans)
    ids = np.array(tokens.ids, dtype=np.int64)
    return Rendered("", ids, turns, (0,) * len(turns), np.zeros(len(ids), dtype=bool))
