"""Rows that the pipeline spoiled and a rule can mend: roles, template text in answers, stop tokens, flags."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.formats._base import RowError
from core.formats._turns import SHAREGPT_ROLES
from core.intake.datasets import read_json_row
from core.intake.json_rows import decode_object
from core.recipes._base import SEED, Made, Plan, Pool, Training, as_it_came
from core.types import Sample, Setting

# Text of special tokens and headings that templates write by themselves; in a row's own text they come twice.
_OPENINGS = re.compile(
    r"\A\s*(?:<s>|<\|begin_of_text\|>|<\|im_start\|>\s*assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n*"
    r"|### (?:Response|Answer):\s*|\[/INST\]\s*|<start_of_turn>model\n|(?:Assistant|ASSISTANT|GPT):\s)"
)
_ENDINGS = re.compile(
    r"(?:\s*(?:</s>|<\|im_end\|>|<\|eot_id\|>|<\|endoftext\|>|<end_of_turn>|<\|end\|>|<\|END_OF_TURN_TOKEN\|>))+\s*\Z"
)


class PipelineRepair:
    name = "pipeline_repair"
    label = "Repair what the pipeline spoiled"
    help = (
        "Mends by rule: role names, template text and stop tokens written into answers, flags that took the loss away. "
        "Rows that were only cut get a longer limit in the training configuration."
    )
    causes = ("pipeline",)
    settings = (
        Setting("roles", "bool", True, "Role names", "human, gpt, bot … under role/content become user and assistant."),
        Setting("template", "bool", True, "Template text in answers", "Headings and start tokens before the answer."),
        Setting("stop_token", "bool", True, "Stop tokens in answers", "Their text at the end of an answer goes."),
        Setting("flags", "bool", True, "Flags without loss", "train: false and weight: 0 on the last answer go."),
        Setting("scope", "choice", "selected", "Rows", "selected: those of the filter; dataset: all rows.",
                ("selected", "dataset")),
        SEED,
    )  # fmt: skip
    files = ()
    expects = (
        "Rows that were trained with loss on the right tokens and end where the answer ends can be learned at all."
    )
    risks = (
        "An answer may hold such a token on purpose, in a text about templates for example. Look at the diff.",
        "A flag may have been set with intent: a turn that must not be trained.",
    )
    proof: Mapping[str, object] = {}
    against = "left_side_forgetting"

    def plan(self, pool: Pool, settings: Mapping[str, Any]) -> Plan:
        chosen = np.arange(pool.n) if settings["scope"] == "dataset" else pool.treated
        tokens, cut = pool.numbers("n_tokens")[pool.treated], pool.numbers("cut_target")[pool.treated]
        was_cut = np.isfinite(cut) & (cut > 0)
        longest, notes = None, []
        if was_cut.any():
            longest = _round_up(int(np.nanmax(tokens[was_cut] + cut[was_cut])))
            notes.append(
                f"{int(was_cut.sum()):,} selected rows were cut: max_length {longest:,} keeps them whole, "
                "if the model's context allows it."
            )

        def walk() -> Iterator[Made]:
            for sample in pool.rows(chosen.tolist()):
                yield repaired(sample, pool, settings) or as_it_came(sample, "rows")

        return Plan(walk, {"rows": len(chosen)} if len(chosen) else {}, Training(max_length=longest), pool.treated,
                    tuple(notes))  # fmt: skip


def repaired(sample: Sample, pool: Pool, settings: Mapping[str, Any]) -> Made | None:
    """The mended row, None where there is nothing to mend."""
    value, _ = decode_object(sample.raw)
    done: list[str] = []
    column = pool.reading.mapping.get("messages") or pool.reading.mapping.get("conversations")
    turns = value.get(column) if column else None
    if isinstance(turns, list) and all(isinstance(t, dict) for t in turns):
        answers = [t for t in turns if _role(t) == "assistant"]
        if settings["roles"] and pool.reading.format == "messages":
            done += _roles(turns)
        for turn in answers:
            key = "value" if "value" in turn else "content"
            if isinstance(turn.get(key), str):
                turn[key] = _text(turn[key], settings, done)
        if settings["flags"] and answers:
            done += _flags(answers[-1])
    else:
        for role in ("output", "completion"):
            name = pool.reading.mapping.get(role, "")
            if isinstance(value.get(name), str):
                value[name] = _text(value[name], settings, done)
    if not done:
        return None
    raw = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        read_json_row(raw, pool.reading)
    except (RowError, ValueError):
        return None
    return Made(raw, sample.id, "rows", ", ".join(dict.fromkeys(done)), sample.raw)


def _role(turn: Mapping[str, Any]) -> str:
    name = str(turn.get("role") or turn.get("from")).lower()
    return SHAREGPT_ROLES.get(name, name)


def _roles(turns: list[dict[str, Any]]) -> list[str]:
    changed = []
    for turn in turns:
        role = turn.get("role")
        name = SHAREGPT_ROLES.get(str(role).lower())
        if isinstance(role, str) and name is not None and name != role and role != "function_call":
            turn["role"] = name
            changed.append(f"role {role} is now {name}")
    return changed


def _text(text: str, settings: Mapping[str, Any], done: list[str]) -> str:
    if settings["template"] and (found := _OPENINGS.match(text)) and text[found.end() :].strip():
        text = text[found.end() :]
        done.append("template text before an answer removed")
    if settings["stop_token"] and (found := _ENDINGS.search(text)) and text[: found.start()].strip():
        text = text[: found.start()]
        done.append("stop token at the end of an answer removed")
    return text


def _flags(turn: dict[str, Any]) -> list[str]:
    off = [key for key in ("train", "weight", "loss_weight") if turn.get(key) is False or turn.get(key) == 0]
    for key in off:
        turn[key] = True if isinstance(turn[key], bool) else 1
    return [f"{key} of the last answer switched on" for key in off]


def _round_up(tokens: int) -> int:
    """The next multiple of 256."""
    return -(-tokens // 256) * 256


KIND = PipelineRepair()
