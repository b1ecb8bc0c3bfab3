"""TRL 1.16's SFTTrainer: what its dataset preparation and collator make of a row.

Source: ``trl/trainer/sft_trainer.py`` (``__init__``, ``_prepare_dataset``, ``DataCollatorForLanguageModeling``) and
``trl/data_utils.py`` (``_tokenize``, ``common_prefix_length``, ``pack_dataset``) of TRL 1.16.0; the tests compare with
them id by id and label by label.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.plugins import with_defaults
from core.presets._base import DAY, Preset, Row, finished, only, prompt_messages, template_variables
from core.presets._trl_templates import has_generation_markers, training_template
from core.rendering.render import Rendered, default_template, prompt_ids, render_chat, render_joined, render_text
from core.rendering.tokenizers import chat_template, common_prefix
from core.types import Sample, Setting, Supervision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Trl(Preset):
    """``SFTTrainer`` with ``SFTConfig``'s names and defaults; ``max_length`` 0 stands for its None."""

    name = "trl"
    label = "TRL SFTTrainer 1.16"
    help = "As TRL trains by default: loss on every token of a conversation, on the completion of a pair; 1,024 tokens."
    settings = (
        Setting(
            "assistant_only_loss",
            "bool",
            False,
            "assistant_only_loss",
            "Loss on assistant turns only; needs a template with generation markers, or one TRL has a variant of.",
        ),
        Setting(
            "completion_only_loss",
            "choice",
            "auto",
            "completion_only_loss",
            "auto: on the completion where rows have one, else on everything.",
            ("auto", "true", "false"),
        ),
        Setting("max_length", "int", 1024, "max_length", "Tokens kept of a row; 0: no limit.", minimum=0),
        Setting(
            "truncation_mode",
            "choice",
            "keep_start",
            "truncation_mode",
            "Which end of a longer row is kept.",
            ("keep_start", "keep_end"),
        ),
        Setting(
            "packing",
            "choice",
            "none",
            "packing",
            "Strategy when several rows share a sequence: bfd cuts long rows, bfd_split splits them, wrapped cuts "
            "anywhere.",
            ("none", "bfd", "bfd_split", "wrapped"),
        ),
        Setting("eos_token", "text", "", "eos_token", "Empty: the tokenizer's own."),
        DAY,
        Setting(
            "training_template",
            "text",
            "",
            "Training template",
            "Text of the template with markers that TRL puts in place of the tokenizer's; empty: looked up in TRL.",
            hidden=True,
        ),
    )

    def pinned(self, settings: Mapping[str, Any], template: str) -> dict[str, Any]:
        """See ``Pinning.pinned``."""
        chosen = with_defaults(self, settings)
        if chosen["assistant_only_loss"] and template and not has_generation_markers(template):
            chosen["training_template"] = chosen["training_template"] or training_template(template) or ""
        return chosen

    def supervise(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerFast,
        settings: Mapping[str, Any],
        context_length: int | None = None,
    ) -> Supervision:
        """See ``Preset.supervise``."""
        chosen = with_defaults(self, settings)
        eos = _eos(tokenizer, chosen["eos_token"])
        if chosen["packing"] != "none" and not chosen["max_length"]:
            raise UserError(
                f"packing={chosen['packing']!r} needs a max_length.",
                "TRL packs rows into sequences of max_length tokens and stops without one.",
                "Set max_length to the value of the training, 1024 if it was not set.",
            )
        if sample.shape == "chat":
            rendered, row, notes = _conversation(sample, tokenizer, eos, chosen)
        else:
            rendered, row, notes = _joined(sample, tokenizer, eos, chosen)
        if chosen["packing"] == "none":
            row, dropped = _truncated(row, chosen)
            return finished(row, rendered, notes, context_length, dropped)
        row, remarks = _packed(row, chosen["packing"], chosen["max_length"])
        return finished(row, rendered, [*notes, *remarks], context_length)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """Messages carry it unless ``assistant_only_loss`` is on, a row with a completion only if it is asked for."""
        chosen = with_defaults(self, settings)
        if sample.shape == "prompt_completion" or prompt_messages(sample):
            return chosen["completion_only_loss"] == "false" and not chosen["assistant_only_loss"]
        return not chosen["assistant_only_loss"]


def _eos(tokenizer: PreTrainedTokenizerFast, chosen: str) -> str | None:
    in_vocabulary = chosen == tokenizer.unk_token or tokenizer.convert_tokens_to_ids(chosen) not in (
        None,
        tokenizer.unk_token_id,
    )
    if chosen and not in_vocabulary:
        raise UserError(
            f"eos_token={chosen!r} is not in the tokenizer's vocabulary.",
            "TRL stops before training in this case.",
            f"Leave it empty for the tokenizer's own ({tokenizer.eos_token!r}), or name a token it has.",
        )
    return chosen or tokenizer.eos_token


def _conversation(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, eos: str | None, chosen: Mapping[str, Any]
) -> tuple[Rendered, Row, list[str]]:
    """A row of messages, or of prompt and completion messages."""
    assistant_only = chosen["assistant_only_loss"]
    template, notes = _template(sample, tokenizer, chosen)
    options: dict[str, Any] = {
        "tools": sample.tools,
        "template": template,
        "variables": {**({"eos_token": eos} if eos else {}), **template_variables(sample)},
        "day": chosen["day"],
    }
    rendered = render_chat(sample.messages, tokenizer, **options)
    n_prompt = prompt_messages(sample)
    row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool), n_prompt)
    if assistant_only:
        if not rendered.generation.any():
            raise UserError(
                "With assistant_only_loss TRL stops at this row: none of its tokens lies between generation markers.",
                f"The roles are: {', '.join(m.role for m in sample.messages[:20])}.",
                "A row without an assistant turn cannot be trained that way: remove it, or turn the setting off.",
            )
        row = only(row, rendered.generation)
    if n_prompt and chosen["completion_only_loss"] != "false":
        prompt = prompt_ids(sample.messages[:n_prompt], tokenizer, **options)
        row = only(row, np.arange(len(row.ids)) >= common_prefix(prompt, rendered.ids.tolist()))
    if chosen["completion_only_loss"] == "true" and not n_prompt:
        notes.append("completion_only_loss has no effect: the row has no completion apart from its messages.")
    if any(m.tool_calls for m in sample.messages):
        notes.append("TRL reads rows through Arrow, which gives tool calls the keys of other rows' calls, as null.")
    return rendered, row, notes


def _template(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]
) -> tuple[str | None, list[str]]:
    """The template to render with (None: the tokenizer's own) and what to say about it."""
    if chat_template(tokenizer, sample.tools is not None) is None:
        template, name = default_template(tokenizer)
        return template, [f"The tokenizer has no chat template, at which TRL stops: rendered with Lacuna's {name} one."]
    own = chat_template(tokenizer) or ""
    if not chosen["assistant_only_loss"] or has_generation_markers(own):
        return None, []
    variant = chosen["training_template"] or training_template(own)
    if variant is None:
        raise UserError(
            "With assistant_only_loss TRL refuses this chat template.",
            "It has no {% generation %} markers, and it is none of those TRL 1.16 has a variant of.",
            "Save the template the training used, with its markers, as chat_template.jinja, or turn the setting off.",
        )
    return variant, ["TRL renders with its own training template in place of the tokenizer's."]


def _joined(
    sample: Sample, tokenizer: PreTrainedTokenizerFast, eos: str | None, chosen: Mapping[str, Any]
) -> tuple[Rendered, Row, list[str]]:
    """A row of plain text, or of prompt and completion as text."""
    if chosen["assistant_only_loss"]:
        raise UserError(
            "assistant_only_loss does not go with rows that are not conversations.",
            "TRL stops before training: such rows have no assistant turns.",
            "Turn it off, or map the dataset to messages if it was trained as messages.",
        )
    if eos is None:
        raise UserError(
            "The tokenizer has no end-of-sequence token.",
            "TRL adds one to rows that are not conversations and stops without one.",
            "Set eos_token to the one the training used.",
        )
    *before, last = sample.messages
    if sample.shape == "text":
        rendered = render_text(last.content, tokenizer, eos)
        useless = chosen["completion_only_loss"] == "true"
        notes = (
            ["completion_only_loss has no effect: the row has no completion apart from its text."] if useless else []
        )
        return rendered, Row.of(rendered, np.ones(len(rendered.ids), dtype=bool)), notes
    prompt = "".join(m.content for m in before)
    rendered = render_joined(prompt, last.content, tokenizer, eos)
    row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool))
    if chosen["completion_only_loss"] != "false":
        start = common_prefix(tokenizer(prompt, verbose=False)["input_ids"], rendered.ids.tolist())
        row = only(row, np.arange(len(row.ids)) >= start)
    return rendered, row, []


def _truncated(row: Row, chosen: Mapping[str, Any]) -> tuple[Row, str | None]:
    """The row within ``max_length``; and why TRL leaves it out, where nothing with loss is left of it."""
    longest = chosen["max_length"]
    if not longest:
        return row, None
    n = len(row.ids)
    kept = row.keep(0, longest) if chosen["truncation_mode"] == "keep_start" else row.keep(n - longest, n)
    if kept.trained.any():
        return kept, None
    cut = f" in the {longest} tokens that max_length keeps" if kept.truncated else ""
    return kept, f"TRL drops the row: no token with loss{cut}."


def _packed(row: Row, strategy: str, longest: int) -> tuple[Row, list[str]]:
    """What packing does to a row by itself; its neighbours in the sequence are not known from the row."""
    n = len(row.ids)
    if strategy == "wrapped":
        return row, [
            "Packed (wrapped): the row may be cut anywhere, and its tokens saw the neighbours before them in the "
            "sequence, which is not rebuilt."
        ]
    trained = row.trained.copy()
    if strategy == "bfd":
        row = row.keep(0, longest)
        trained = trained[:longest]
        trained[:1] = False  # the collator masks the first token of every packed row
        return replace(row, trained=trained), []
    trained[::longest] = False
    pieces = -(-n // longest)
    note = (
        f"Packed (bfd_split): trained in {pieces} pieces of up to {longest} tokens, each without sight of the others."
    )
    return replace(row, trained=trained), [note] if pieces > 1 else []


KIND = Trl()
