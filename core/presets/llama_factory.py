"""LLaMA-Factory 0.9.5, stage sft: its templates, its cut by turns, its masks.

Every turn is tokenised by itself (``_llama_factory_slots``). ``bench/twins.py`` compares with the package's own
``SupervisedDatasetProcessor`` id by id and label by label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError
from core.plugins import with_defaults
from core.presets._base import DAY, Preset, Row, finished
from core.presets._llama_factory_slots import (
    Encoder,
    Part,
    SlotTemplate,
    fixed_tokenizer,
    named_template,
    parsed_template,
    template_names,
)
from core.presets._llama_factory_slots import Row as Columns
from core.presets._llama_factory_tools import FORMATS
from core.presets._source_rows import source_row, source_turns, written_role
from core.rendering.render import Rendered
from core.rendering.templates import template_hash
from core.types import Message, Sample, Setting, Supervision, Turn, canonical_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_OWN = "tokenizer"


class LlamaFactory(Preset):
    """``llamafactory-cli train`` with ``DataArguments``' names and defaults."""

    name = "llama_factory"
    label = "LLaMA-Factory 0.9.5"
    help = "As LLaMA-Factory trains: its named templates, loss on every answer, turns cut to 2,048 tokens."
    settings = (
        Setting(
            "template",
            "choice",
            _OWN,
            "Template",
            "The template named in the training's configuration. Without a name LLaMA-Factory reads one off the "
            "tokenizer's chat template.",
            (_OWN, *template_names()),
            words=("None named: from the tokenizer", *template_names()),
        ),
        Setting("cutoff_len", "int", 2048, "Longest row in tokens (cutoff_len)", "Longer rows are cut turn by turn.",
                minimum=1),
        Setting("train_on_prompt", "bool", False, "Loss on the prompt too (train_on_prompt)"),
        Setting("mask_history", "bool", False, "Loss on the last answer only (mask_history)",
                "Turns are taken from the last one back."),
        Setting("packing", "bool", False, "Several rows share a sequence (packing)",
                "One token less is kept of a row."),
        Setting("neat_packing", "bool", False, "Packed rows do not see each other (neat_packing)",
                "Turns packing on."),
        Setting(
            "enable_thinking",
            "choice",
            "true",
            "Reasoning (enable_thinking)",
            "For templates of reasoning models, which put an empty block before answers without reasoning. true: the "
            "block carries loss; null: it does not; false: it does not, and written reasoning is removed.",
            ("true", "false", "null"),
        ),
        Setting("preserve_thinking", "bool", False, "Keep reasoning of earlier answers (preserve_thinking)",
                "Matters with mask_history, which removes it otherwise."),
        Setting("default_system", "text", "", "System prompt of rows without one (default_system)",
                "Empty: the template's own."),
        Setting("tool_format", "choice", "template", "Format of tools and calls (tool_format)", "",
                ("template", *FORMATS), words=("The template's own", *FORMATS)),
        Setting("formatting", "choice", "auto", "How dataset_info.json says turns are written (formatting)",
                "auto: openai for rows whose turns hold tool_calls, else sharegpt. openai adds words to the system "
                "prompt.", ("auto", "sharegpt", "openai")),
        Setting("max_samples", "int", 0, "Rows read from the start (max_samples)", "0: all.", minimum=0),
        Setting("val_size", "float", 0.0, "Held-out rows (val_size)", "A share below 1, or a number of rows.",
                minimum=0),
        Setting("n_rows", "int", 0, "Rows of the file, for val_size",
                "Needed to tell which rows were held out; 0: not known.", minimum=0),
        Setting("seed", "int", 42, "Seed of the training, for val_size", minimum=0),
        DAY,
    )  # fmt: skip

    length_setting = "cutoff_len"

    def configuration(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Configuring.configuration``."""
        chosen = with_defaults(self, settings)
        kept = ("train_on_prompt", "mask_history", "packing", "neat_packing", "preserve_thinking")
        thinking = {"true": True, "false": False, "null": None}[chosen["enable_thinking"]]
        values = {"template": _named(chosen) or None, **{name: chosen[name] for name in kept}}
        values |= {"enable_thinking": thinking, "default_system": chosen["default_system"] or None}
        values["tool_format"] = None if chosen["tool_format"] == "template" else chosen["tool_format"]
        by_default = {"template": "", "enable_thinking": True, "default_system": None, "tool_format": None}
        return {k: v for k, v in values.items() if v != by_default.get(k, False)}

    packed_apart = ("neat_packing",)

    def supervise(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerFast,
        settings: Mapping[str, Any],
        context_length: int | None = None,
    ) -> Supervision:
        """See ``Preset.supervise``."""
        chosen = with_defaults(self, settings)
        template = _template(tokenizer, chosen)
        encoder = Encoder(template, fixed_tokenizer(tokenizer, template, _named(chosen)), _named(chosen), chosen["day"])
        if sample.shape == "text":
            return _plain_text(sample, encoder, chosen, context_length)
        columns, dropped = _columns(sample, chosen)
        columns, parts = _with_thoughts(columns, encoder, chosen)
        pairs = _pairs(parts)
        row, notes = _assembled(pairs, encoder, chosen)
        left_out = dropped or _not_read(sample, chosen)
        if left_out:
            row = replace(row, trained=np.zeros(len(row.ids), dtype=bool))
        if dropped is None and chosen["packing"] and not chosen["neat_packing"]:
            notes.append("Packed without neat_packing: tokens may see the rows before them, which is not rebuilt.")
        if chosen["val_size"] and not chosen["n_rows"]:
            notes.append("Rows were held out by val_size; which ones is only known with n_rows, the rows of the file.")
        return finished(row, _rendered(row, template), notes, context_length, left_out)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """See ``Preset.loss_on_prompt``."""
        return bool(with_defaults(self, settings)["train_on_prompt"])


def _named(chosen: Mapping[str, Any]) -> str:
    return "" if chosen["template"] == _OWN else str(chosen["template"])


def _template(tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]) -> SlotTemplate:
    name = _named(chosen)
    template = named_template(name) if name else parsed_template(tokenizer, chosen["day"])
    if chosen["train_on_prompt"] and (template.efficient_eos or chosen["mask_history"]):
        other = "mask_history" if chosen["mask_history"] else f"the template {name}"
        raise UserError(
            f"train_on_prompt does not go with {other}.",
            "LLaMA-Factory stops before training in this case.",
            "Turn one of them off, as it was in the training.",
        )
    if chosen["tool_format"] != "template":
        slots = ("{{content}}",) if template.efficient_eos else ("{{content}}", {"special": "eos"})
        form = chosen["tool_format"]
        template = replace(template, function=slots, calls=form, tools=form, tools_slot=())
    if chosen["default_system"]:
        template = replace(template, default_system=chosen["default_system"])
    return template


# ------------------------------------------------------------------------------------------------------ the row

_ODD, _EVEN = ("user", "observation"), ("assistant", "function")


def _columns(sample: Sample, chosen: Mapping[str, Any]) -> tuple[Columns, str | None]:
    """What the converters of LLaMA-Factory make of the row; and why they leave it out, where they do.

    A row that is left out keeps its turns, so that the model can be measured on it.
    """
    row = source_row(sample)
    written = source_turns(sample, row)
    by_calls = chosen["formatting"] == "openai"
    if chosen["formatting"] == "auto":
        by_calls = any(turn.get("tool_calls") for turn in written)
    messages, system = list(zip(sample.messages, written, strict=True)), ""
    if messages and messages[0][0].role == "system":
        system = messages[0][0].content
        messages = messages[1:]
    turns: list[tuple[str, str]] = []
    for i, (message, turn) in enumerate(messages):
        role, content = _turn(message, turn, by_calls)
        after_result = i > 0 and messages[i - 1][0].role == "tool"
        if by_calls and role == "observation" and after_result:
            turns[-1] = ("observation", turns[-1][1] + _NEXT_RESULT + content)
        else:
            turns.append((role, content))
    tools = row.get("tools")
    tools = tools if isinstance(tools, str) else sample.tools or ""
    columns = Columns(turns, _openai_system(system, tools) if by_calls else system, tools)
    odd = next((i for i, (role, _) in enumerate(turns) if role not in (_EVEN if i % 2 else _ODD)), None)
    if odd is not None:
        wanted = " or ".join(_EVEN if odd % 2 else _ODD)
        return columns, f"LLaMA-Factory drops the row: turn {odd + 1} is {turns[odd][0]!r} where {wanted} is expected."
    if len(turns) % 2 or not turns:
        return columns, f"LLaMA-Factory drops the row: {len(turns)} turns do not make pairs of question and answer."
    return columns, None


def _openai_system(system: str, tools: str) -> str:
    """The system prompt of rows with the formatting ``openai``, to which LLaMA-Factory adds words of its own."""
    if tools:
        return system + "\n" if system else ""
    if "detailed thinking on" in system or "detailed thinking off" in system:
        return system
    return (system + "\n" if system else "") + "detailed thinking off"


_NEXT_RESULT = "\n</tool_response>\n<tool_response>\n"
_ROLES = {"user": "user", "assistant": "assistant", "tool": "observation"}


def _turn(message: Message, written: Mapping[str, Any], by_calls: bool) -> tuple[str, str]:
    role = _ROLES.get(message.role, message.role)
    if role != "assistant":
        return role, message.content
    if written_role(written) == "function_call":
        text = written.get("value", written.get("content"))
        return "function", text if isinstance(text, str) else message.content
    if message.tool_calls and (by_calls or not message.content):
        calls = [call.get("function", call) for call in json.loads(message.tool_calls)]
        return "function", json.dumps(calls, ensure_ascii=False)
    return role, message.content


def _not_read(sample: Sample, chosen: Mapping[str, Any]) -> str | None:
    """Why the row is not trained on though it is sound: beyond ``max_samples``, or held out."""
    limit, n = chosen["max_samples"], chosen["n_rows"]
    if limit and sample.row >= limit:
        return f"LLaMA-Factory does not read the row: max_samples takes the first {limit}."
    if not chosen["val_size"] or not n:
        return None
    n = min(n, limit) if limit else n
    size = chosen["val_size"]
    held = int(size) if size > 1 else int(np.ceil(size * n)) if size < 1 else 1
    is_held = sample.row in _held_out(n, held, chosen["seed"])
    return "LLaMA-Factory holds the row out for validation (val_size)." if is_held else None


@lru_cache(maxsize=4)
def _held_out(n: int, held: int, seed: int) -> frozenset[int]:
    """The rows that ``datasets.Dataset.train_test_split`` takes out of ``n``."""
    return frozenset(np.random.default_rng(seed).permutation(n)[:held].tolist())


# ----------------------------------------------------------------------------------------------- reasoning, pairs


def _with_thoughts(columns: Columns, encoder: Encoder, chosen: Mapping[str, Any]) -> tuple[Columns, list[Part]]:
    """The turns as tokens; with a template for reasoning, what it adds to answers and takes out of them."""
    template = encoder.template
    if not template.reasons:
        return columns, encoder.parts(columns)
    opening, closing = template.thought
    block = re.compile(f"{re.escape(opening)}(.*?){re.escape(closing)}", re.DOTALL)
    n, mode = len(columns.turns), chosen["enable_thinking"]
    forgets = chosen["mask_history"] and not chosen["preserve_thinking"]
    turns = list(columns.turns)
    for i in range(1, n, 2):
        if mode == "false" or (forgets and i < n - 2):
            turns[i] = (turns[i][0], block.sub("", turns[i][1]).lstrip("\n"))
    columns = replace(columns, turns=turns)
    parts = encoder.parts(columns)
    for i in range(1, n, 2):
        has_none = opening.strip() not in turns[i][1] and closing.strip() not in turns[i][1]
        if not has_none or (forgets and i < n - 1):
            continue
        thought = encoder.thought()
        if mode == "true":
            parts[i] = _led_by(thought, parts[i])
        else:
            parts[i - 1] = replace(parts[i - 1], ids=parts[i - 1].ids + thought)
    return columns, parts


def _led_by(ids: list[int], part: Part) -> Part:
    turn = part.turn
    # The block carries loss: it is a part of what the answer was to be.
    moved = None if turn is None else Turn(0, turn.stop + len(ids), turn.has_stop_token)
    return Part(ids + part.ids, moved)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A question and its answer as tokens; ``turn`` counts from the answer's first token."""

    source: list[int]
    target: list[int]
    turn: Turn | None


def _pairs(parts: Sequence[Part]) -> list[_Pair]:
    """Sources and answers in turn. A row that LLaMA-Factory drops may have several turns before an answer, or none."""
    pairs, source = [], list[int]()
    for part in parts:
        if part.turn is None:
            source = source + part.ids
        else:
            pairs.append(_Pair(source, part.ids, part.turn))
            source = []
    return [*pairs, _Pair(source, [], None)] if source else pairs


def _lengths(source: int, target: int, left: int) -> tuple[int, int]:
    """How many tokens of a question and of its answer fit into ``left``."""
    if 2 * target < left:
        most = left
    elif 2 * source < left:
        most = left - source
    else:
        most = int(left * (target / (source + target)))
    kept = min(most, target)
    return min(max(left - kept, 0), source), kept


def _assembled(pairs: Sequence[_Pair], encoder: Encoder, chosen: Mapping[str, Any]) -> tuple[Row, list[str]]:
    """The pairs within ``cutoff_len``, joined."""
    template, last_only = encoder.template, chosen["mask_history"]
    limit = chosen["cutoff_len"] - (chosen["packing"] or chosen["neat_packing"])
    length, n_foreign, cut = int(template.efficient_eos), 0, False
    taken = list[tuple[list[int], list[bool], Turn | None]]()
    for i, pair in enumerate(pairs[::-1] if last_only else pairs):
        if length >= limit:
            cut = True
            break
        n_source, n_target = _lengths(len(pair.source), len(pair.target), limit - length)
        length += n_source + n_target
        cut |= n_source < len(pair.source) or n_target < len(pair.target)
        ids = pair.source[:n_source] + pair.target[:n_target]
        trained = [chosen["train_on_prompt"]] * n_source + [not (last_only and i > 0)] * n_target
        if template.efficient_eos and i > 0 and n_source:
            trained[0] = ids[0] == encoder.tokenizer.eos_token_id
            n_foreign += not trained[0]
        taken.append((ids, trained, _shifted(pair.turn, n_source, n_target)))
    row = _joined(taken[::-1] if last_only else taken)
    if template.efficient_eos:
        row = _ended(row, encoder.tokenizer.eos_token_id)
    wanted = sum(p.turn.stop - p.turn.start for p in pairs if p.turn) + bool(template.efficient_eos and pairs)
    notes = []
    if n_foreign:
        notes.append(
            "efficient_eos: later questions begin with a token that was trained as the end-of-sequence token. That "
            f"label is not the row's own token and is not measured ({n_foreign} of them)."
        )
    return replace(row, truncated=cut, cut_target=max(0, wanted - int(row.target.sum())) if cut else 0), notes


def _shifted(turn: Turn | None, by: int, length: int) -> Turn | None:
    if turn is None or turn.start >= min(turn.stop, length):
        return None
    stop = min(turn.stop, length)
    return Turn(turn.start + by, stop + by, turn.has_stop_token and stop == turn.stop)


def _joined(taken: Sequence[tuple[list[int], list[bool], Turn | None]]) -> Row:
    ids, trained, turns = list[int](), list[bool](), list[Turn]()
    for part, flags, turn in taken:
        if turn is not None:
            turns.append(Turn(turn.start + len(ids), turn.stop + len(ids), turn.has_stop_token))
        ids += part
        trained += flags
    return _row(ids, trained, turns)


def _row(ids: list[int], trained: list[bool], turns: Sequence[Turn]) -> Row:
    target = np.zeros(len(ids), dtype=bool)
    for turn in turns:
        target[turn.start : turn.stop] = True
    return Row(np.asarray(ids, dtype=np.int64), np.asarray(trained, dtype=bool), target, tuple(turns))


def _ended(row: Row, eos: int) -> Row:
    """The row with the end-of-sequence token behind it, which ends its last answer where that has no other end."""
    n, turns = len(row.ids), list(row.turns)
    if turns and turns[-1].stop == n and not turns[-1].has_stop_token:
        turns[-1] = Turn(turns[-1].start, n + 1, True)
    return _row([*row.ids.tolist(), eos], [*row.trained.tolist(), True], turns)


def _rendered(row: Row, template: SlotTemplate) -> Rendered:
    """The value that ``finished`` takes notes and the template's hash from."""
    fields = {name: getattr(template, name) for name in template.__dataclass_fields__}
    none = np.zeros(len(row.ids), dtype=bool)
    return Rendered("", row.ids, row.turns, (), none, template_hash(canonical_json(fields)))


def _plain_text(sample: Sample, encoder: Encoder, chosen: Mapping[str, Any], context_length: int | None) -> Supervision:
    """A row of plain text, stage pt: the whole of it carries loss, the end of a longer one is cut."""
    tokenizer = encoder.tokenizer
    end = "<|end_of_text|>" if _named(chosen) == "llama3" else tokenizer.eos_token or ""
    start = tokenizer.bos_token if getattr(tokenizer, "add_bos_token", False) else ""
    text = (start or "") + sample.messages[0].content + end
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    limit = chosen["cutoff_len"] - (chosen["packing"] or chosen["neat_packing"])
    stops = bool(ids) and ids[-1] == tokenizer.convert_tokens_to_ids(end)
    row = _row(ids, [True] * len(ids), (Turn(0, len(ids), stops),) if ids else ())
    notes = ["Boundary unknown: prompt and answer are not told apart, every token is the target."]
    if chosen["packing"] or chosen["neat_packing"]:
        notes.append("Packed (stage pt): rows are joined and cut anywhere, which is not rebuilt.")
    else:
        row = row.keep(0, limit)
    return finished(row, _rendered(row, encoder.template), notes, context_length, _not_read(sample, chosen))


KIND = LlamaFactory()
