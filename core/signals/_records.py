"""Records of what signals keep of a sample beside its numbers; ``_artefacts`` names them.

A record is stored as JSON in a chunk's file. Files of earlier versions stay readable: a field they lack takes its
default, one that this version does not know is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np


class Record:
    """A part of what is kept. ``parts``: fields that hold several further records, and their class."""

    __slots__ = ()
    parts: ClassVar[Mapping[str, type[Record]]] = {}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        own = {name: v for name, v in value.items() if name in names}
        own |= {name: tuple(map(part.from_dict, own[name])) for name, part in cls.parts.items() if name in own}
        return cls(**own)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; fields that are None are left out."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        own |= {name: [part.as_dict() for part in own[name]] for name in self.parts}
        return {name: value for name, value in own.items() if value is not None}


def mask(values: np.ndarray) -> str:
    """(t,) bool or float64 as one letter a token: 1, 0, and ? for NaN, not measured."""
    letters = np.where(np.isnan(values), ord("?"), np.where(values, ord("1"), ord("0")))
    return letters.astype(np.uint8).tobytes().decode()


def unmask(letters: str) -> np.ndarray:
    """(t,) float64 of what ``mask`` wrote: 1, 0 or NaN."""
    codes = np.frombuffer(letters.encode(), dtype=np.uint8)
    return np.where(codes == ord("?"), np.nan, codes == ord("1"))


@dataclass(frozen=True, slots=True)
class TurnTokens(Record):
    """One assistant turn under teacher forcing, at positions [start, stop).

    Attributes:
        complete: it ends with a stop token.
        exact: greedy decoding gives it; None = not measured.
        logp: of its exact text in one draw at each of ``TEMPERATURES``; empty = not measured.
    """

    start: int
    stop: int
    complete: bool
    exact: bool | None = None
    logp: list[float | None] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RowTokens(Record):
    """The rendered row and its token scores. Text, ids and masks (l,) are kept for the final checkpoint only.

    Attributes:
        refused: what the template says where it refuses the row; then nothing else is kept.
        dropped: why the trainer leaves the row out.
        trained, target: as ``mask`` writes them.
        positions, logprobs, margin: (t,) of the scored tokens; ``hits``: whether each is the argmax, as ``mask`` writes
            it. None inside = not measured; without scores all are empty.
    """

    parts = {"turns": TurnTokens}

    notes: list[str] = field(default_factory=list)
    refused: Mapping[str, str] | None = None
    dropped: str | None = None
    pieces: list[str] | None = None
    ids: list[int] | None = None
    trained: str = ""
    target: str = ""
    positions: list[int] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    hits: str = ""
    margin: list[float | None] = field(default_factory=list)
    turns: tuple[TurnTokens, ...] = ()


@dataclass(frozen=True, slots=True)
class TurnOutputs(Record):
    """One turn as the checkpoint answers it.

    Attributes:
        turn: its number; ``target``: what it was trained to say; ``complete``: whether the target was not cut.
        output, stopped, score: the greedy answer, whether it ended by itself, and the scorer's judgement of it.
        draws: scores of the sampled answers; ``texts``: the first of them.
    """

    turn: int
    target: str
    output: str
    stopped: bool
    score: float
    complete: bool
    draws: list[float]
    texts: list[str]


@dataclass(frozen=True, slots=True)
class RowOutputs(Record):
    """What the checkpoint answers where greedy decoding does not give the target."""

    parts = {"turns": TurnOutputs}

    turns: tuple[TurnOutputs, ...] = ()


@dataclass(frozen=True, slots=True)
class PromptAnswer(Record):
    """The base behind one few-shot prompt: its greedy answer, whether that is right, and p of the target in a draw."""

    right: bool
    p: float
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class BaseAnswers(Record):
    """How the base was asked about a row, and what it said.

    Attributes:
        way, prompts, examples: the way to ask, how many prompts, and where the examples come from, in words.
        tried: way to how well the base answers learned rows that way.
        prompt: the first prompt, as the base read it.
        target, belief: the row's answer; the base's own, None where its answers were empty.
        greedy: prompt by prompt; ``answers``: its own answers, the greedy one first.
    """

    parts = {"greedy": PromptAnswer}

    way: str
    prompts: int
    examples: str
    tried: Mapping[str, list[float]]
    prompt: str
    target: str
    greedy: tuple[PromptAnswer, ...]
    answers: list[str]
    belief: str | None = None


@dataclass(frozen=True, slots=True)
class Choices(Record):
    """Multiple choice: per presentation the options as listed, the place of the right one, and their probabilities."""

    manner: str
    options: list[list[str]]
    right: list[int]
    p: list[list[float]]


@dataclass(frozen=True, slots=True)
class NearRow(Record):
    """Another row near the sample's: how near, how sure it asks the same, and the words that say so.

    Attributes:
        hash: its content hash. similarity: cosine of the prompts. same: how sure it asks the same. verbatim: its
            prompt is the same text.
        left, right, shared: words that only the sample's prompt has, only the other's, or both.
        exchanged: each wording has a name, a number or a rare word that the other lacks.
    """

    hash: str
    similarity: float
    same: float
    verbatim: bool
    left: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)
    exchanged: bool = False


@dataclass(frozen=True, slots=True)
class NearRows(Record):
    """Rows near the sample's, surest first; ``verbatim``: how many contents have its very prompt."""

    parts = {"neighbours": NearRow}

    neighbours: tuple[NearRow, ...] = ()
    verbatim: int = 0


@dataclass(frozen=True, slots=True)
class Side(Record):
    """Rows of a group that give the same answer: their content hashes, and how many rows they are with copies."""

    weight: float
    members: list[str]


@dataclass(frozen=True, slots=True)
class Dispute(Record):
    """A row's contradiction group.

    Attributes:
        group, key, strength: number, hash of its members, and how sure it is one.
        side, takes: places in ``sides`` of the row's own answer and of the checkpoint's; None where not known.
        differs, kind: words in which the answers differ, and the kind of difference.
        same, differ, valid: of its surest pair: same question, other answer, both may be right.
    """

    parts = {"sides": Side}

    group: int
    key: str
    strength: float
    side: int
    sides: tuple[Side, ...]
    differs: list[list[str]]
    kind: str
    same: float
    differ: float
    valid: float
    takes: int | None = None
