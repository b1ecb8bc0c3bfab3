"""ms-swift 4.6, ``swift sft`` with its own templates: loss by strategies, long rows deleted.

``_ms_swift_encode`` writes a row. ``bench/twins.py`` compares with the package's own ``Template.encode``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import UserError, unknown_name
from core.plugins import with_defaults
from core.presets._base import DAY, Preset, Row, finished
from core.presets._llama_factory_slots import tool_prompts
from core.presets._llama_factory_tools import announced
from core.presets._ms_swift_encode import (
    BASES,
    STRATEGIES,
    SwiftEncoder,
    SwiftTemplate,
    SwiftTurn,
    swift_names,
    swift_template,
)
from core.presets._source_rows import source_turns
from core.rendering.render import Rendered
from core.rendering.templates import template_hash
from core.types import Message, Sample, Setting, Supervision, canonical_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_GUESS = "auto"
# Tokens by which a template is guessed where none is named, with the template.
_KNOWN_BY = (("<|im_start|>", "chatml"), ("<|start_header_id|>", "llama3"), ("<start_of_turn>", "gemma"))


class MsSwift(Preset):
    """``swift sft`` with the names and defaults of its arguments; ``max_length`` 0 stands for the model's own."""

    name = "ms_swift"
    label = "ms-swift 4.6"
    help = "As ms-swift trains: its own templates, loss on answers, rows over the limit deleted."
    settings = (
        Setting(
            "template",
            "choice",
            _GUESS,
            "Template",
            "The template that ms-swift chose for the model, as args.json names it.",
            (_GUESS, *swift_names()),
            words=("Guess from the tokenizer", *swift_names()),
        ),
        Setting(
            "loss_scale",
            "text",
            "default",
            "Where loss is put (loss_scale)",
            f"One of {', '.join(BASES)}; chained with + to {', '.join(STRATEGIES)}.",
        ),
        Setting("max_length", "int", 0, "Longest row in tokens (max_length)", "0: the model's own limit.", minimum=0),
        Setting(
            "truncation_strategy",
            "choice",
            "delete",
            "Longer rows (truncation_strategy)",
            "",
            ("delete", "left", "right", "split", "raise"),
            words=("Are deleted", "Lose their start", "Lose their end", "Are split", "Stop the training"),
        ),
        Setting("system", "text", "", "System prompt of rows without one (system)", "Empty: the template's own."),
        Setting(
            "add_non_thinking_prefix",
            "bool",
            True,
            "Empty reasoning before answers without (add_non_thinking_prefix)",
            "For templates of models that may reason or not.",
        ),
        Setting(
            "preserve_thinking",
            "choice",
            "auto",
            "Keep reasoning of earlier answers (preserve_thinking)",
            "auto: it is removed where only the last round is trained.",
            ("auto", "true", "false"),
        ),
        Setting("packing", "bool", False, "Several rows share a sequence (packing)", "Rows do not see each other."),
        DAY,
    )

    packed_apart = ("packing",)

    def supervise(
        self,
        sample: Sample,
        tokenizer: PreTrainedTokenizerFast,
        settings: Mapping[str, Any],
        context_length: int | None = None,
    ) -> Supervision:
        """See ``Preset.supervise``."""
        chosen = with_defaults(self, settings)
        name, notes = _named(tokenizer, chosen)
        template = swift_template(name, chosen["day"])
        base, strategies = _strategies(chosen["loss_scale"])
        keeps = chosen["preserve_thinking"]
        encoder = SwiftEncoder(
            template,
            tokenizer,
            base,
            strategies,
            _keeps_thinking(template, base) if keeps == "auto" else keeps == "true",
            chosen["add_non_thinking_prefix"],
        )
        turns, system, dropped = _turns(sample, template, name)
        if system is None:
            system = chosen["system"] or template.default_system
        if sample.tools:
            _check_agent(template, name, "tools")
            tools = json.dumps(_without_padding(json.loads(sample.tools)), ensure_ascii=False)
            system = (system or "") + announced(tools, "qwen", tool_prompts(), chosen["day"])
        written = encoder.row(turns, system)
        target = np.zeros(len(written.ids), dtype=bool)
        for turn in written.turns:
            target[turn.start : turn.stop] = True
        row = Row(np.asarray(written.ids, dtype=np.int64), written.trained, target, written.turns)
        row, too_long, more = _within(row, chosen)
        dropped = dropped or too_long
        if dropped:
            row = replace(row, trained=np.zeros(len(row.ids), dtype=bool))
        rendered = Rendered("", row.ids, row.turns, (), np.zeros(len(row.ids), dtype=bool), _hash(template))
        return finished(row, rendered, [*notes, *more], context_length, dropped)

    def loss_on_prompt(self, sample: Sample, settings: Mapping[str, Any]) -> bool:
        """See ``Preset.loss_on_prompt``."""
        return _strategies(with_defaults(self, settings)["loss_scale"])[0] == "all"


def _hash(template: SwiftTemplate) -> str:
    return template_hash(canonical_json({name: getattr(template, name) for name in template.__dataclass_fields__}))


def _named(tokenizer: PreTrainedTokenizerFast, chosen: Mapping[str, Any]) -> tuple[str, list[str]]:
    if chosen["template"] != _GUESS:
        return str(chosen["template"]), []
    added = tokenizer.get_added_vocab()
    name = next((name for token, name in _KNOWN_BY if token in added), "default")
    return name, [f"ms-swift's template {name} is a guess from the tokenizer's tokens: set the one in args.json."]


def _strategies(text: str) -> tuple[str, list[str]]:
    """The base strategy and those chained to it."""
    parts = [part.strip() for part in text.split("+") if part.strip()] or ["default"]
    base = parts.pop(0) if parts[0] in BASES else "default"
    parts = [part for part in parts if part != "base"]
    for part in parts:
        if part not in STRATEGIES:
            raise unknown_name("strategy of loss_scale that is rebuilt", part, [*BASES, *STRATEGIES])
    return base, parts


def _keeps_thinking(template: SwiftTemplate, base: str) -> bool:
    if template.preserve_thinking is not None:
        return template.preserve_thinking
    return not template.is_thinking or base != "last_round"


def _within(row: Row, chosen: Mapping[str, Any]) -> tuple[Row, str | None, list[str]]:
    """The row within ``max_length``; why ms-swift leaves it out, where it does; and notes."""
    n, longest, way = len(row.ids), chosen["max_length"], chosen["truncation_strategy"]
    if not longest or n <= longest:
        return row, None, []
    if way == "raise":
        raise UserError(
            f"ms-swift stops at this row: it has {n} tokens, max_length is {longest}.",
            "truncation_strategy is raise.",
            "Set both as they were in the training.",
        )
    if way == "delete":
        return row, f"ms-swift deletes the row: it has {n} tokens, max_length is {longest}.", []
    if way == "split":
        trained = row.trained.copy()
        trained[::longest] = False
        note = (
            f"Split: trained in {-(-n // longest)} pieces of up to {longest} tokens, each without sight of the others."
        )
        return replace(row, trained=trained), None, [note]
    row = row.keep(0, longest) if way == "right" else row.keep(n - longest, n)
    trained = row.trained.copy()
    trained[:1] = False
    return replace(row, trained=trained), None, []


# ------------------------------------------------------------------------------------------------------ the row


def _turns(sample: Sample, template: SwiftTemplate, name: str) -> tuple[list[SwiftTurn], str | None, str | None]:
    """Questions and answers in turn, the system prompt, and why ms-swift leaves the row out, where it does."""
    messages = list(zip(sample.messages, source_turns(sample), strict=True))
    if sample.shape == "text":
        messages = [(replace(sample.messages[-1], role="assistant"), {})]
    system, dropped = None, None
    if messages and messages[0][0].role == "system":
        system = messages.pop(0)[0].content
        if template.system_prefix is None and not template.is_post_system:
            dropped = f"ms-swift leaves the row out: its template {name} takes no system prompt."
            system = ""
    turns = list[SwiftTurn]()
    for message, written in messages:
        for turn in _told(message, written, template, name):
            if turn.role not in ("user", "assistant", "tool"):
                dropped = dropped or f"ms-swift leaves the row out: it knows no role {turn.role!r}."
                turn = replace(turn, role="user")
            _append(turns, turn, template)
    if turns and turns[0].role == "assistant":
        turns.insert(0, SwiftTurn("user", [""]))
    if template.chat_sep is None and len(turns) > 2:
        turns = turns[-2:] if len(turns) % 2 == 0 else turns[-1:]
    return turns, system, dropped


def _told(message: Message, written: Mapping[str, Any], template: SwiftTemplate, name: str) -> list[SwiftTurn]:
    loss, scale = written.get("loss"), written.get("loss_scale")
    role = message.role
    if role == "tool":
        _check_agent(template, name, "tool results")
    if role != "assistant":
        return [SwiftTurn(role, [message.content], [None], [None])]
    out = []
    if message.content or not message.tool_calls:
        out.append(SwiftTurn(role, [message.content], [loss], [scale]))
    if message.tool_calls:
        _check_agent(template, name, "calls")
        out.append(SwiftTurn(role, [_calls(message.tool_calls)], [loss], [scale]))
    return out


def _append(turns: list[SwiftTurn], turn: SwiftTurn, template: SwiftTemplate) -> None:
    """Adds the turn; neighbours of one role become one."""
    before = turns[-1] if turns else None
    if turn.role == "tool":
        result = f"<tool_response>\n{turn.parts[0]}\n</tool_response>"
        if before is not None and before.role == "tool":
            before.parts.append(result)
        else:
            before = SwiftTurn("tool", [result], [None], [None])
            turns.append(before)
        whole = "\n".join(before.parts)
        asked = [c.replace("{{QUERY}}", whole) if isinstance(c, str) else c for c in template.prompt]
        before.prompt = [*(template.chat_sep or ()), *asked]
    elif before is not None and before.role == turn.role == "assistant":
        before.parts += turn.parts
        before.losses += turn.losses
        before.scales += turn.scales
    elif before is not None and before.role == turn.role:
        before.parts = [before.parts[0] + turn.parts[0]]
    else:
        turns.append(turn)


def _calls(text: str) -> str:
    """Calls as the agent template ``hermes`` writes them."""
    out = []
    for call in json.loads(text):
        call = call.get("function", call)
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):
            with suppress(ValueError):  # text that is no JSON stays text
                arguments = json.loads(arguments)
        shown = json.dumps({"name": call.get("name"), "arguments": arguments}, ensure_ascii=False)
        out.append(f"<tool_call>\n{shown}\n</tool_call>")
    return "\n".join(out)


# Where null is a value of its own, as a whole or among others; and what holds schemas by name.
_NULL_VALUES, _NULL_ITEMS = ("default", "const"), ("enum", "examples")
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


def _without_padding(schema: Any) -> Any:
    """The tool definitions without the nulls that reading through Arrow gives them."""
    if isinstance(schema, list):
        return [_without_padding(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in _NULL_VALUES or key.startswith("x-") or (key in _NULL_ITEMS and value is not None):
            kept[key] = value
        elif key in _BY_NAME and isinstance(value, dict):
            kept[key] = {name: _without_padding(part) for name, part in value.items() if part is not None}
        elif value is not None:
            kept[key] = _without_padding(value)
    return kept


def _check_agent(template: SwiftTemplate, name: str, what: str) -> None:
    if template.agent != "hermes":
        raise UserError(
            f"The row has {what}, which are rebuilt for ms-swift's agent template hermes only.",
            f"The template {name} writes them as {template.agent or 'react_en'}.",
            "Rows without tools can be diagnosed, and so can templates of Qwen models.",
        )


KIND = MsSwift()
