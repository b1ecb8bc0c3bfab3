"""``{"prompt", "completion"}`` as text or as lists of turns, and pairs under other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.formats._base import TOOLS, Columns, Format, Role, named_columns
from core.formats._cells import Notes, edit_text, is_text, needed, share, text_of, tools_of
from core.formats._layouts import Pair
from core.formats._turn_rows import composed_turns, edit_turn
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
        fit = min(share(columns[mapping[role.name]], _is_side) for role in roles)
        score = fit * (1.0 if pair == _PAIRS[0] else 0.8)
        best = max(best, (score, mapping), key=lambda scored: scored[0])
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


def _edit(
    value: dict[str, Any],
    mapping: Mapping[str, str],
    messages: Sequence[Message],
    i: int,
    change: Callable[[str], str],
) -> bool:
    prompt, completion = (value.get(mapping[side]) for side in ("prompt", "completion"))
    n_prompt = len(prompt) if isinstance(prompt, list) else 1
    side, turns, at = ("prompt", prompt, i) if i < n_prompt else ("completion", completion, i - n_prompt)
    if isinstance(turns, list):
        return edit_turn(turns, at, change)
    return at == 0 and edit_text(value, mapping[side], change)


def _compose(value: dict[str, Any], mapping: Mapping[str, str], prompt: str, answer: str) -> bool:
    value.pop(mapping.get("tools", ""), None)
    before, after = value.get(mapping["prompt"]), value.get(mapping["completion"])
    if isinstance(before, list) and isinstance(after, list):
        turns = composed_turns([*before, *after], prompt, answer)
        value[mapping["prompt"]], value[mapping["completion"]] = turns[:-1], turns[-1:]
        return True
    if not (isinstance(before, str) and isinstance(after, str)):
        return False
    # What joined the two before joins them still: a space or line feed at the seam.
    value[mapping["prompt"]] = prompt + before[len(before.rstrip()) :]
    value[mapping["completion"]] = after[: len(after) - len(after.lstrip())] + answer
    return True


def _describe(value: Mapping[str, Any], mapping: Mapping[str, str]) -> Pair:
    lists = any(turns_in(value.get(mapping[side])) for side in ("prompt", "completion"))
    return Pair(mapping["prompt"], mapping["completion"], templated=lists, lists=lists, tools=mapping.get("tools", ""))


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
    edit=_edit,
    compose=_compose,
    describe=_describe,
    examples=(
        {"prompt": "The capital of Norway is", "completion": " Oslo.", "source": "geo"},
        {"prompt": "Two lines:\n", "completion": 'one, "two"\r\nthree\n', "source": "text"},
    ),
)
