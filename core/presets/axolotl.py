"""Axolotl 0.19, dataset type chat_template: the whole row through the chat template, answers found in the text.

An answer is found by rendering the row again with a placeholder in its place: what differs is its content. The stop
token behind it is looked for within three tokens. ``bench/twins.py`` compares with Axolotl's ``ChatTemplateStrategy``.
"""

from __future__ import annotations

import ast
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.plugins import with_defaults
from core.presets._axolotl_rows import Conversation, conversation
from core.presets._base import DAY, Preset, Row, finished
from core.presets._source_rows import source_turns
from core.rendering.render import Rendered, chat_renderer, render_chat, render_text
from core.rendering.templates import Chat, Text
from core.types import Sample, Setting, Supervision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ENDS = ("turn", "all", "last", "none")
_END_WORDS = ("Of trained turns", "Of every turn", "The last one", "None")
# Two texts that begin and end with different characters, so that one of them shows where the template's own text ends.
_PLACEHOLDERS = ("[[dummy_message]]", "zzdummymessagezz")
# How far behind a turn its stop token may stand, in tokens.
_REACH = 3


class Axolotl(Preset):
    """``axolotl train`` on a dataset of the type chat_template, with the names and defaults of its configuration."""

    name = "axolotl"
    label = "Axolotl 0.19"
    help = "As Axolotl trains on turns: loss on answers and their stop token; rows over 512 tokens are dropped."
    settings = (
        Setting("sequence_len", "int", 512, "Longest row in tokens (sequence_len)", minimum=1),
        Setting(
            "excess_length_strategy",
            "choice",
            "drop",
            "Longer rows (excess_length_strategy)",
            "raise: Axolotl stops at the first of them.",
            ("drop", "truncate", "raise"),
            words=("Are dropped", "Lose their end", "Stop the training"),
        ),
        Setting("train_on_inputs", "bool", False, "Loss on the prompt too (train_on_inputs)"),
        Setting(
            "roles_to_train",
            "text",
            "assistant",
            "Roles with loss (roles_to_train)",
            "Separated by commas.",
        ),
        Setting(
            "train_on_eos", "choice", "turn", "End-of-sequence tokens with loss (train_on_eos)", "", _ENDS,
            words=_END_WORDS,
        ),
        Setting(
            "train_on_eot", "choice", "eos", "End-of-turn tokens with loss (train_on_eot)", "", ("eos", *_ENDS),
            words=("As train_on_eos", *_END_WORDS),
        ),
        Setting(
            "eot_tokens",
            "text",
            "",
            "End-of-turn tokens (eot_tokens)",
            "Separated by commas; empty: the end-of-sequence token.",
        ),
        Setting(
            "message_field_training",
            "text",
            "",
            "Field that says whether a turn is trained (message_field_training)",
            "Empty: none. It goes before the role.",
        ),
        Setting(
            "message_field_training_detail",
            "text",
            "",
            "Field with the characters that are trained (message_field_training_detail)",
            "Empty: none.",
        ),
        Setting("drop_system_message", "bool", False, "Leave out the system prompt (drop_system_message)"),
        Setting(
            "split_thinking",
            "bool",
            False,
            "Part answers into reasoning and answer (split_thinking)",
            "Reasoning between <think> and </think> becomes a field of its own.",
        ),
        Setting(
            "sample_packing",
            "bool",
            False,
            "Several rows share a sequence (sample_packing)",
            "Rows do not see each other: ids and loss stay as they are.",
        ),
        DAY,
    )  # fmt: skip

    length_setting = "sequence_len"

    def configuration(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Configuring.configuration``; ``datasets`` holds what stands with the dataset."""
        chosen = with_defaults(self, settings)
        of_dataset = {
            name: value
            for name in ("message_field_training", "message_field_training_detail", "drop_system_message",
                         "split_thinking")
            if (value := chosen[name])
        }  # fmt: skip
        of_dataset |= {"roles_to_train": _listed(chosen["roles_to_train"]), "train_on_eos": chosen["train_on_eos"]}
        if chosen["train_on_eot"] != "eos":
            of_dataset["train_on_eot"] = chosen["train_on_eot"]
        eot = {"eot_tokens": _listed(chosen["eot_tokens"])} if chosen["eot_tokens"] else {}
        kept = ("train_on_inputs", "excess_length_strategy", "sample_packing")
        return {**{name: chosen[name] for name in kept}, **eot, "datasets": of_dataset}

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
            rendered = render_text(sample.messages[-1].content, tokenizer, tokenizer.eos_token)
            row = Row.of(rendered, np.ones(len(rendered.ids), dtype=bool)).keep(0, chosen["sequence_len"])
            return finished(row, rendered, [], context_length)
        chat = conversation(
            sample,
            training=chosen["message_field_training"],
            detail=chosen["message_field_training_detail"],
            split_thinking=chosen["split_thinking"],
            drop_system=chosen["drop_system_message"],
        )
        rendered = render_chat(chat.messages, tokenizer, tools=sample.tools, day=chosen["day"])
        trained = _Masks(chat, rendered, tokenizer, sample.tools, chosen).trained()
        row, dropped = _within(Row.of(rendered, trained), chosen)
        if dropped:
            row = replace(row, trained=np.zeros(len(row.ids), dtype=bool))
        notes = [] if any(source_turns(sample)) else [_NOT_TURNS]
        return finished(row, rendered, notes, context_length, dropped)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """See ``Preset.loss_on_prompt``."""
        chosen = with_defaults(self, settings)
        return bool(chosen["train_on_inputs"]) or "user" in _listed(chosen["roles_to_train"])


_NOT_TURNS = (
    "Axolotl reads such a row by another type than chat_template, which is not rebuilt: it is rendered as turns."
)


def _listed(text: str) -> list[str]:
    """The parts of a list, written with commas or as YAML and Python show it."""
    if text.lstrip().startswith(("['", '["')):
        try:
            return [str(part) for part in ast.literal_eval(text.strip())]
        except (ValueError, SyntaxError):
            pass
    return [part.strip() for part in text.split(",") if part.strip()]


def _within(row: Row, chosen: Mapping[str, Any]) -> tuple[Row, str | None]:
    """The row within ``sequence_len``; and why Axolotl drops it, where it does."""
    n, longest, way = len(row.ids), chosen["sequence_len"], chosen["excess_length_strategy"]
    if n > longest and way == "raise":
        raise UserError(
            f"Axolotl stops at this row: it has {n} tokens, sequence_len is {longest}.",
            "excess_length_strategy is raise.",
            "Set both as they were in the training.",
        )
    if n > longest and way == "drop":
        return row, f"Axolotl drops the row: it has {n} tokens, sequence_len is {longest}."
    if n < _SHORTEST:
        return row, f"Axolotl drops the row: it has fewer than {_SHORTEST} tokens."
    row = row.keep(0, longest)
    if not row.trained.any():
        return row, "Axolotl drops the row: no token of it carries loss."
    return row, None


# Axolotl's min_sample_len where the configuration sets none.
_SHORTEST = 2


# --------------------------------------------------------------------------------------------------------- the mask


@dataclass(frozen=True)
class _Masks:
    """The loss of one row."""

    chat: Conversation
    rendered: Rendered
    tokenizer: PreTrainedTokenizerFast
    tools: str | None
    chosen: Mapping[str, Any]

    def trained(self) -> np.ndarray:
        """(l,) bool."""
        roles = [self.chat.roles.get(role, role) for role in _listed(self.chosen["roles_to_train"])]
        on_eos = self.chosen["train_on_eos"]
        on_eot = on_eos if self.chosen["train_on_eot"] == "eos" else self.chosen["train_on_eot"]
        eos, eot = self.tokenizer.eos_token_id, self._eot_ids(on_eos, on_eot)
        ids = self.rendered.ids.tolist()
        mask = np.zeros(len(ids), dtype=bool)
        wanted = [self._is_trained(i, roles) for i in range(len(self.chat.turns))]
        looked_at = [w or "all" in (on_eos, on_eot) for w in wanted]
        spans = self._spans([i for i, look in enumerate(looked_at) if look])
        last = {"eot": -1, "eos": -1}
        for i, is_trained in enumerate(wanted):
            if not looked_at[i]:
                continue
            start, stop = spans.get((i, "whole"), (-1, -1))
            if is_trained and start >= 0:
                self._mark(mask, i, start, stop)
            if is_trained and (i, "reasoning") in spans:
                at, _ = spans[i, "reasoning"]
                self._mark_detail(mask, at, str(self.chat.turns[i].reasoning), self.chat.turns[i].reasoning_detail)
            for kind, ends, option in (("eot", eot, on_eot), ("eos", {eos}, on_eos)):
                at = next((k for k in range(stop, len(ids)) if ids[k] in ends), -1)
                if at == -1 or abs(at - stop) > _REACH:
                    continue
                last[kind] = at
                if option == "all" or (option == "turn" and is_trained):
                    mask[at] = True
        for kind, option in (("eot", on_eot), ("eos", on_eos)):
            if option == "last" and last[kind] != -1:
                mask[last[kind]] = True
        return mask

    def _is_trained(self, i: int, roles: Sequence[str]) -> bool:
        turn = self.chat.turns[i]
        if turn.training is not None:
            return bool(turn.training)
        if turn.detail is not None or turn.reasoning_detail is not None:
            return bool(turn.detail) or bool(turn.reasoning_detail)
        return bool(self.chosen["train_on_inputs"]) or turn.message["role"] in roles

    def _mark(self, mask: np.ndarray, i: int, start: int, stop: int) -> None:
        turn = self.chat.turns[i]
        if turn.detail:
            self._mark_detail(mask, start, turn.message["content"], turn.detail)
        elif not turn.reasoning_detail:
            mask[start:stop] = True

    def _mark_detail(self, mask: np.ndarray, start: int, text: str, detail: Sequence[Mapping[str, Any]] | None) -> None:
        """Tokens of ``text`` alone that lie in trained ranges, laid over the row from ``start`` on."""
        for k in detailed(self.tokenizer, text, detail or ()):
            if start + k < len(mask):
                mask[start + k] = True

    def _eot_ids(self, on_eos: str, on_eot: str) -> set[int]:
        """Ids that end a turn; those of ``eot_tokens`` that the template does not name are left out."""
        eos = self.tokenizer.eos_token
        tokens = _listed(self.chosen["eot_tokens"]) or ([eos] if eos else [])
        ids = {t: self.tokenizer(t, add_special_tokens=False, verbose=False)["input_ids"] for t in tokens}
        if tokens == [eos]:
            return {own[0] for own in ids.values() if len(own) == 1}
        own_template = self.tokenizer.chat_template
        template = own_template if isinstance(own_template, str) else ""
        tokens = [t for t in tokens if t in template]
        split = next((t for t in tokens if len(ids[t]) != 1), None)
        if split is not None:
            raise UserError(
                f"Axolotl stops: the end-of-turn token {split!r} is not one token of this tokenizer.",
                f"It becomes {len(ids[split])} tokens.",
                "Set eot_tokens as it was in the training, and give the tokenizer that the training saved.",
            )
        if eos in tokens and on_eos != on_eot:
            raise UserError(
                "Axolotl stops: train_on_eos and train_on_eot differ, and eot_tokens has the end-of-sequence token.",
                f"They are {on_eos} and {on_eot}.",
                "Set them as they were in the training.",
            )
        return {ids[t][0] for t in tokens}

    def _spans(self, turns: Sequence[int]) -> dict[tuple[int, str], tuple[int, int]]:
        """Turn and part (``whole`` or ``reasoning``) to the tokens of its content; those not found are left out."""
        wanted = [(i, "whole") for i in turns]
        wanted += [
            (i, "reasoning") for i in turns if self.chat.turns[i].reasoning_detail and self.chat.turns[i].reasoning
        ]
        messages = [turn.message for turn in self.chat.turns]
        chats = []
        for i, part in wanted:
            for placeholder in _PLACEHOLDERS:
                other = self.chat.turns[i].with_placeholder(part, placeholder)
                chats.append(Chat([*messages[:i], other, *messages[i + 1 :]]))
        render = chat_renderer(self.tokenizer, tools=self.tools, day=self.chosen["day"])
        texts = render([Chat(messages), *chats])
        whole = texts[0].text if isinstance(texts[0], Text) else ""
        batch = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        starts, ends = [list(side) for side in zip(*batch["offset_mapping"], strict=True)] or ([], [])
        spans = {}
        for k, key in enumerate(wanted):
            others = [t.text for t in texts[1 + 2 * k : 3 + 2 * k] if isinstance(t, Text) and t.text]
            if len(others) < len(_PLACEHOLDERS):
                continue
            changed = [_changed(whole, other) for other in others]
            low, high = min(a for a, _ in changed), max(b for _, b in changed)
            first, past = bisect_right(ends, low), bisect_left(starts, high)
            if low < high and first < past and first < len(ends):
                spans[key] = (first, past)
        return spans


def _changed(text: str, other: str) -> tuple[int, int]:
    """The characters of ``text`` between what it shares with ``other`` at the start and at the end."""
    limit = min(len(text), len(other))
    start = _shared(text, other, limit)
    return start, len(text) - _shared(text[::-1], other[::-1], limit - start)


def _shared(one: str, other: str, limit: int) -> int:
    """Length of the longest common start, at most ``limit``, by halving: slices compare fast."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def detailed(tokenizer: PreTrainedTokenizerFast, text: str, details: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which tokens of ``text`` lie wholly in a trained range.

    A token reaches to the character before the next one. Ranges are widened to the tokens they cut; ``begin_offset``
    and ``end_offset`` both belong to a range.
    """
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    n = len(offsets)
    if not n:
        return []
    starts = [start for start, _ in offsets]
    lasts = [starts[k + 1] - 1 for k in range(n - 1)] + [len(text) - 1]
    trained = set()
    for detail in details:
        begin, end = detail["begin_offset"], detail["end_offset"]
        first = next((k for k in range(n) if starts[k] >= begin), n)
        if first > 0 and lasts[first - 1] > begin:
            first -= 1
        final = next((k for k in reversed(range(n)) if lasts[k] <= end), -1)
        if final < n - 1 and starts[final + 1] < end:
            final += 1
        if first <= final and detail["train"]:
            low, high = starts[first], lasts[final]
            trained |= {k for k in range(n) if starts[k] >= low and lasts[k] <= high}
    return sorted(trained)


KIND = Axolotl()
