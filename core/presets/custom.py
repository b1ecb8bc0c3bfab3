"""Answers only: loss on what the assistant says and on its stop token, nothing cut. The default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.plugins import with_defaults
from core.presets._base import DAY, Preset, Row, finished, prompt_messages, template_variables
from core.rendering.render import Rendered, render_chat, render_joined, render_text
from core.rendering.tokenizers import chat_template
from core.types import Sample, Setting, Supervision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Custom(Preset):
    """Loss on the assistant's content and stop token; the switches cover what trainers commonly do otherwise."""

    name = "custom"
    label = "Answers only"
    help = "Loss on every assistant turn and its stop token; rows are not cut."
    settings = (
        Setting("train_on_prompt", "bool", False, "Loss on the prompt too"),
        Setting(
            "respect_turn_flags",
            "bool",
            True,
            "Respect the rows' own flags",
            "A turn that its row marks as not trained (train, weight) carried no loss. It is judged all the same.",
        ),
        Setting(
            "template_for_pairs",
            "choice",
            "auto",
            "Chat template for prompt-completion rows",
            "Without it, prompt and completion are joined as they are.",
            ("auto", "yes", "no"),
            words=("Where the tokenizer has one", "Yes", "No"),
        ),
        Setting(
            "max_length", "int", 0, "Longest row in tokens", "The end of a longer row is cut; 0: no limit.", minimum=0
        ),
        DAY,
    )

    def supervise(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerFast,
        settings: Mapping[str, Any],
        context_length: int | None = None,
    ) -> Supervision:
        """See ``Preset.supervise``."""
        chosen = with_defaults(self, settings)
        rendered = _rendered(sample, tokenizer, chosen)
        first = prompt_messages(sample)
        row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool), first)
        trained = np.ones(len(row.ids), dtype=bool) if chosen["train_on_prompt"] else row.target.copy()
        notes = []
        if chosen["respect_turn_flags"]:
            for turn, j in zip(rendered.turns, rendered.messages, strict=True):
                if j >= first and sample.messages[j].train is False:
                    trained[turn.start : turn.stop] = False
                    notes.append("The row marks a turn as not trained.")
        row = replace(row, trained=trained)
        if chosen["max_length"]:
            row = row.keep(0, chosen["max_length"])
        return finished(row, rendered, notes, context_length)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """See ``Preset.loss_on_prompt``."""
        return bool(with_defaults(self, settings)["train_on_prompt"])


def _rendered(sample: Sample, tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]) -> Rendered:
    *before, last = sample.messages
    if sample.shape == "text":
        return render_text(last.content, tokenizer, tokenizer.eos_token)
    templated = chosen["template_for_pairs"]
    if templated == "auto":
        templated = "yes" if chat_template(tokenizer) is not None else "no"
    if sample.shape == "prompt_completion" and templated == "no":
        return render_joined("".join(m.content for m in before), last.content, tokenizer, tokenizer.eos_token)
    return render_chat(
        sample.messages,
        tokenizer,
        tools=sample.tools,
        variables=template_variables(sample),
        day=chosen["day"],
    )


KIND = Custom()
