"""How rows are laid out: what a trainer's configuration says of them, and what a turn is.

A format describes its rows as one of these; exports and recipes know layouts, never the names of formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CANONICAL = ("system", "user", "assistant", "tool")
# Names that datasets give the canonical roles.
ALIASES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "system": "system",
    "observation": "tool",
    "function_response": "tool",
    "function": "tool",
    "tool_response": "tool",
    "tool": "tool",
}
# Of these, the assistant's turns that hold a call.
CALL_ROLES = ("function_call", "tool_call")
# Keys by which a turn says whether it carries loss, in order of precedence: false, or 0, is no loss.
LOSS_FLAGS = ("train", "training", "loss", "weight", "loss_weight")


def canonical(role: str) -> str:
    """The canonical name of a role, whatever its letter case; one that is not known stays as it is."""
    return ALIASES.get(role.lower(), role)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One column holds a list of turns; trainers render it through the chat template.

    Attributes:
        column: the column that holds the turns.
        role, text: the keys of a turn.
        names: each of ``CANONICAL`` to the name that the rows write for it.
        system, tools: columns beside it; empty where there are none.
    """

    column: str
    role: str
    text: str
    names: Mapping[str, str]
    system: str = ""
    tools: str = ""

    def turns(self, value: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The turns of a row themselves, to be changed in place; none where it holds them otherwise, as JSON text."""
        turns = value.get(self.column)
        return turns if isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns) else []


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt and its answer have a column each.

    Attributes:
        prompt, answer: the two columns.
        templated: whether they go through the chat template; else they are joined as they are.
        lists: whether the two columns hold lists of turns.
        input: column that is joined to the prompt; ``system``, ``history``, ``tools`` others. Empty: there is none.
    """

    prompt: str
    answer: str
    templated: bool
    lists: bool = False
    input: str = ""
    system: str = ""
    history: str = ""
    tools: str = ""


@dataclass(frozen=True, slots=True)
class Plain:
    """One column holds a whole text, with loss on all of it."""

    column: str


Layout = Conversation | Pair | Plain
