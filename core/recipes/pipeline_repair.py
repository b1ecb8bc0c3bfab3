"""Rows that the pipeline spoiled and a rule can mend: roles, template text in answers, stop tokens, flags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.formats._cells import RowError
from core.formats._layouts import LOSS_FLAGS, Conversation, canonical
from core.intake.datasets import read_json_row
from core.intake.json_rows import decode_object
from core.plugins import kind
from core.recipes._base import SEED, Made, Plan, Pool, Recipe, Training, as_it_came
from core.recipes._rewrite import limits
from core.signals import _columns as col
from core.types import Reading, Sample, Setting

# Text of special tokens and headings that templates write by themselves; in a row's own text they come twice.
_OPENINGS = re.compile(
    r"\A\s*(?:<s>|<\|begin_of_text\|>|<\|im_start\|>\s*assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n*"
    r"|### (?:Response|Answer):\s*|\[/INST\]\s*|<start_of_turn>model\n|(?:Assistant|ASSISTANT|GPT):\s)"
)
_ENDINGS = re.compile(
    r"(?:\s*(?:</s>|<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<end_of_turn>|<\|end\|>|<\|END_OF_TURN_TOKEN\|>))+\s*\Z"
)


class PipelineRepair(Recipe):
    name = "pipeline_repair"
    label = "Repair the pipeline's damage"
    help = (
        "Mends by rule: role names, template text and stop tokens written into answers, flags that took the loss away. "
        "Rows that were only cut get a longer limit in the training configuration."
    )
    causes = ("pipeline",)
    settings = (
        Setting("roles", "bool", True, "Role names", "human, gpt, bot and others become user and assistant."),
        Setting("template", "bool", True, "Template text in answers", "Removes headings and start tokens before it."),
        Setting("stop_token", "bool", True, "Stop tokens in answers", "Removes their text at the end of an answer."),
        Setting("flags", "bool", True, "Flags without loss", "Drops train: false and weight: 0 of the last answer."),
        Setting("scope", "choice", "selected", "Rows", "The selected samples are those of the filter.",
                ("selected", "dataset"), words=("Selected samples", "Whole dataset")),
        SEED,
    )  # fmt: skip
    expects = "The rows can be learned at all: loss lies on the right tokens and each row ends where its answer ends."
    risks = (
        "An answer may hold such a token on purpose, in a text about templates for example. Look at the diff.",
        "A flag may have been set with intent: a turn that must not be trained.",
    )
    against = "left_side_forgetting"
    taught = ("rows",)

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        """See ``Recipe.plan``."""
        chosen = np.arange(pool.n) if settings["scope"] == "dataset" else pool.treated
        max_length, notes = _uncut(pool)
        notes += limits(pool.reading, edits=True)

        def mended(sample: Sample) -> Made | None:
            return repaired(sample, pool.reading, settings)

        def walk() -> Iterator[Made]:
            for sample in pool.rows(chosen.tolist()):
                yield mended(sample) or as_it_came(sample, "rows")

        counts = {"rows": len(chosen)} if len(chosen) else {}
        training = Training(max_length=max_length)
        return Plan(walk, counts, training, pool.treated, tuple(notes), replaced=chosen, mended=mended)


def _uncut(pool: Pool) -> tuple[int | None, list[str]]:
    """The limit that keeps selected rows whole which were cut, with a note; None where none was cut."""
    tokens, cut = pool.numbers(col.N_TOKENS)[pool.treated], pool.numbers(col.CUT_TARGET)[pool.treated]
    was_cut = np.isfinite(cut) & (cut > 0)
    if not was_cut.any():
        return None, []
    longest = -(-int(np.nanmax(tokens[was_cut] + cut[was_cut])) // 256) * 256  # the next multiple of 256
    note = f"{int(was_cut.sum()):,} selected rows were cut: max_length {longest:,} keeps them whole, "
    return longest, [f"{note}if the model's context allows it."]


def repaired(sample: Sample, reading: Reading, settings: Mapping[str, Any]) -> Made | None:
    """The mended row, None where there is nothing to mend or its format cannot say how."""
    format = kind("formats", reading.format)
    value, _ = decode_object(sample.raw)
    layout = format.describe(value, reading.mapping) if format.describe else None
    changes: list[str] = []
    turns = layout.turns(value) if isinstance(layout, Conversation) else []
    if isinstance(layout, Conversation) and settings["roles"]:
        changes += _roles(turns, layout.role, {message.role for message in sample.messages})
    if format.edit is not None:
        for i, message in enumerate(sample.messages):
            if canonical(message.role) == "assistant":
                format.edit(value, reading.mapping, sample.messages, i, lambda text: _text(text, settings, changes))
    if isinstance(layout, Conversation) and settings["flags"]:
        answers = [turn for turn in turns if canonical(str(turn.get(layout.role))) == "assistant"]
        changes += _flags(answers[-1]) if answers else []
    if not changes:
        return None
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        read_json_row(raw, reading)
    except (RowError, ValueError):
        return None
    return Made(raw, sample.id, "rows", ", ".join(dict.fromkeys(changes)), sample.raw)


def _roles(turns: list[dict[str, Any]], key: str, roles: set[str]) -> list[str]:
    """Gives turns the canonical name of their role where the format hands on the name as written, one of ``roles``."""
    changes = []
    for turn in turns:
        role = turn.get(key)
        if isinstance(role, str) and role in roles and role != "function_call" and canonical(role) != role:
            turn[key] = canonical(role)
            changes.append(f"role {role} is now {canonical(role)}")
    return changes


def _text(text: str, settings: Mapping[str, Any], changes: list[str]) -> str:
    if settings["template"] and (opening := _OPENINGS.match(text)) and text[opening.end() :].strip():
        text = text[opening.end() :]
        changes.append("template text before an answer removed")
    if settings["stop_token"] and (ending := _ENDINGS.search(text)) and text[: ending.start()].strip():
        text = text[: ending.start()]
        changes.append("stop token at the end of an answer removed")
    return text


def _flags(turn: dict[str, Any]) -> list[str]:
    """Switches the loss of a turn on where its own flags took it away."""
    off = [key for key in LOSS_FLAGS if turn.get(key) is False or turn.get(key) == 0]
    for key in off:
        turn[key] = True if isinstance(turn[key], bool) else 1
    return [f"{key} of the last answer switched on" for key in off]


KIND = PipelineRepair()
