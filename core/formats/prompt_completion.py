"""``{"prompt", "completion"}`` as text or as lists of turns, and pairs under other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.formats._base import TOOLS, Columns, Format, Notes, Role, is_text, named_columns, needed, text_of, tools_of
from core.formats._base import share as share_of
from core.formats._turns import messages_of, turns_in
from core.types import Message, Shape

_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("problem", "solution"),
    ("input", "output"),
)
_ROLES = (
    Role("prompt", "Prompt", True, tuple(dict.fromkeys(p for p, _ in _PAIRS)), "What comes before the answer."),
    Role("completion", "Completion", True, tuple(dict.fromkeys(c for _, c in _PAIRS)), "The answer."),
    TOOLS,
)


def _find(columns: Columns) -> tuple[float, dict[str, str]]:
    best: tuple[float, dict[str, str]] = (0.0, {})
    for pair in _PAIRS:
        roles = [Role(role.name, role.label, True, (name,)) for role, name in zip(_ROLES, pair, strict=False)]
        mapping = named_columns([*roles, TOOLS], columns)
        if "prompt" not in mapping or "completion" not in mapping:
            continue
        fit = min(share_of(columns[mapping[role.name]], _is_side) for role in roles)
        score = fit * (1.0 if pair == _PAIRS[0] else 0.8)
        best = max(best, (score, mapping), key=lambda found: found[0])
    return best


def _is_side(value: Any) -> bool:
    return is_text(value) or bool(turns_in(value))


def _convert(
    value: Mapping[str, Any], mapping: Mapping[str, str], notes: Notes
) -> tuple[Sequence[Message], Shape, str | None]:
    sides = [needed(value, mapping, role) for role in ("prompt", "completion")]
    tools = tools_of(value, mapping)
    if not any(turns_in(side) for _, side in sides):
        texts = [text_of(side, column, notes) for column, side in sides]
        return [Message("user", texts[0]), Message("assistant", texts[1])], "prompt_completion", tools
    messages: list[Message] = []
    for (column, side), role, trained in zip(sides, ("user", "assistant"), (False, True), strict=True):
        turns = messages_of(side, column, notes) if turns_in(side) else [Message(role, text_of(side, column, notes))]
        messages += [turn if turn.train is not None else replace(turn, train=trained) for turn in turns]
    notes.add("turns of the prompt count as not trained, those of the completion as trained")
    return messages, "chat", tools


KIND = Format(
    name="prompt_completion",
    label="Prompt and completion",
    help=(
        "A prompt and its completion, joined as they are, without a template. Where they are lists of turns, they are "
        "one conversation whose completion was trained. For plain pairs trained through a chat template choose Alpaca."
    ),
    own_roles=_ROLES,
    find=_find,
    convert=_convert,
    examples=(
        {"prompt": "The capital of Norway is", "completion": " Oslo.", "source": "geo"},
        {"prompt": "Two lines:\n", "completion": 'one, "two"\r\nthree\n', "source": "text"},
    ),
)
