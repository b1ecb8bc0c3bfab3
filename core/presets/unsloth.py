"""Unsloth 2026.10: rows through the chat template, loss by ``train_on_responses_only``.

Tokens between a response marker and what ends the answer carry loss. ``bench/twins.py`` compares with unsloth_zoo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from core.errors import UserError
from core.plugins import with_defaults
from core.presets._base import DAY, Preset, Row, finished, template_variables
from core.presets._unsloth_markers import Render, boundaries, markers_of
from core.rendering.render import chat_renderer, render_chat, render_text
from core.rendering.templates import Chat, Failure
from core.types import Sample, Setting, Supervision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Unsloth(Preset):
    """``train_on_responses_only`` over rows that the chat template rendered."""

    name = "unsloth"
    label = "Unsloth 2026.10"
    help = (
        "As Unsloth trains with train_on_responses_only: loss between the markers of answer and question; 2,048 tokens."
    )
    settings = (
        Setting(
            "train_on_responses_only",
            "bool",
            True,
            "Loss on answers only (train_on_responses_only)",
            "Off: the function was not called, and every token carries loss.",
        ),
        Setting(
            "instruction_part",
            "text",
            "",
            "Text before a question (instruction_part)",
            "Empty: found from the chat template. \\n stands for a new line.",
        ),
        Setting(
            "response_part",
            "text",
            "",
            "Text before an answer (response_part)",
            "Empty: found from the chat template. \\n stands for a new line.",
        ),
        Setting("last_response_only", "bool", False, "Loss on the last answer only (last_response_only)"),
        Setting(
            "mask_out_tokens",
            "text",
            "",
            "Texts without loss inside answers (mask_out_tokens)",
            "Separated by commas.",
        ),
        Setting("max_length", "int", 2048, "Longest row in tokens (the model's maximum)", "0: no limit.", minimum=0),
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
        if sample.shape == "text":
            rendered = render_text(sample.messages[-1].content, tokenizer, None)
        else:
            rendered = render_chat(
                sample.messages,
                tokenizer,
                tools=sample.tools,
                variables=template_variables(sample),
                day=chosen["day"],
            )
        row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool))
        if chosen["max_length"]:
            row = row.keep(0, chosen["max_length"])
        if not chosen["train_on_responses_only"]:
            return finished(row, rendered, [], context_length)
        row = replace(row, trained=_trained(row.ids.tolist(), tokenizer, chosen))
        cut = " that max_seq_length keeps" if row.truncated else ""
        dropped = None if row.trained.any() else f"Unsloth removes the row: no token{cut} carries loss."
        return finished(row, rendered, [], context_length, dropped)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """See ``Preset.loss_on_prompt``."""
        return not with_defaults(self, settings)["train_on_responses_only"]


def _trained(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]) -> np.ndarray:
    answers = boundaries(tokenizer, *_markers(tokenizer, chosen)).answers(ids)
    mask = np.zeros(len(ids), dtype=bool)
    for start, stop in answers[-1:] if chosen["last_response_only"] else answers:
        mask[start:stop] = True
    for text in (part.strip() for part in chosen["mask_out_tokens"].split(",")):
        for out in _forms(tokenizer, text) if text else ():
            for at in range(len(ids) - len(out) + 1):
                if list(ids[at : at + len(out)]) == out:
                    mask[at : at + len(out)] = False
    return mask


def _forms(tokenizer: PreTrainedTokenizerFast, text: str) -> list[list[int]]:
    """The text's tokens; and those with a blank before it, where the blank becomes a part of its first token."""
    plain, spaced = (tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"] for t in (text, " " + text))
    holds = any(spaced[at : at + len(plain)] == plain for at in range(len(spaced) - len(plain) + 1))
    return [form for form in ([plain] if holds else [plain, spaced]) if form]


def _markers(tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]) -> tuple[str, str]:
    given = [chosen[name].replace("\\n", "\n") for name in ("instruction_part", "response_part")]
    if all(given):
        return given[0], given[1]
    if any(given):
        raise UserError(
            "Unsloth stops where only one of instruction_part and response_part is given.",
            f"They are {given[0]!r} and {given[1]!r}.",
            "Set both as they were in the training, or neither.",
        )
    template = tokenizer.chat_template
    key = (template if isinstance(template, str) else "", str(chosen["day"]))
    by_template = _FOUND.setdefault(tokenizer, {})
    if key not in by_template:
        by_template[key] = markers_of(tokenizer, _render(tokenizer, chosen["day"]))
    return by_template[key]


_FOUND: WeakKeyDictionary[Any, dict[tuple[str, str], tuple[str, str]]] = WeakKeyDictionary()


def _render(tokenizer: PreTrainedTokenizerFast, day: str) -> Render:
    renderer = chat_renderer(tokenizer, day=day)

    def render(turns: Sequence[tuple[str, str]], header: bool) -> str:
        (text,) = renderer([Chat([{"role": role, "content": content} for role, content in turns], header)])
        if isinstance(text, Failure):
            raise UserError(
                "Unsloth cannot tell from this chat template where questions and answers begin.",
                f"It refuses three plain turns: {text.message}",
                "Set instruction_part and response_part as they were in the training.",
            )
        return text.text

    return render


KIND = Unsloth()
