"""Rows as ms-swift's own templates write them: contexts in order, each with the weight of its loss.

The templates are lists of contexts, not Jinja; they lie in ``_ms_swift_templates.json``. Neighbours of one weight are
joined before they are tokenised, so that tokens never reach from a question into an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.presets._llama_factory_tools import MONTHS
from core.rendering.encoding import Encoded, encode
from core.rendering.turns import marks
from core.types import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# A text, or ids; in the data also the name of a special id.
Context = str | Sequence[int | str]

# What each strategy gives less than full weight, or more: pattern to weight.
STRATEGIES: Mapping[str, Mapping[str, float]] = {
    "ignore_empty_think": {
        r"^<think>\s*</think>\s*": 0.0,
        r"^</think>\s*": 0.0,
        r"^<\|channel>thought\n<channel\|>": 0.0,
        r"^</mm:think>\s*": 0.0,
    },
    "ignore_think_prefix": {r"^<think>\n?": 0.0},
    "hermes": {r"<tool_call>.+?</tool_call>": 2.0},
}
BASES = ("default", "last_round", "all")


@dataclass(frozen=True)
class SwiftTemplate:
    """A template of ms-swift.

    Attributes:
        prefix, system_prefix: what begins a row without and with a system prompt.
        prompt: around a question, up to the answer. chat_sep: behind an answer that is not the last, None where the
            template takes one question only; suffix: behind the last.
        auto_add_bos: whether the row begins with what the tokenizer puts before every text.
        agent: how tools and calls are written.
        is_thinking: whether the model reasons before it answers.
        non_thinking_prefix: put before answers that do not begin with reasoning. thinking_prefix: begins the answer of
            a model that always reasons.
        stop: texts that end an answer.
    """

    prompt: Sequence[Context]
    prefix: Sequence[Context] = ()
    chat_sep: Sequence[Context] | None = None
    suffix: Sequence[Context] = (("eos_token_id",),)
    system_prefix: Sequence[Context] | None = None
    default_system: str | None = None
    auto_add_bos: bool = False
    agent: str = ""
    is_thinking: bool = False
    non_thinking_prefix: str = ""
    thinking_prefix: str = ""
    preserve_thinking: bool | None = None
    history_thinking_prefix: str = ""
    stop: Sequence[str] = ()

    @property
    def is_post_system(self) -> bool:
        """Whether the system prompt stands with the last question."""
        return any("{{SYSTEM}}" in context for context in self.prompt)


@cache
def _data() -> Mapping[str, Any]:
    path = Path(__file__).with_name("_ms_swift_templates.json")
    data: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def swift_names() -> tuple[str, ...]:
    return tuple(_data()["templates"])


@cache
def swift_template(name: str, day: str) -> SwiftTemplate:
    """The template called ``name``, as it is on the ISO date ``day``."""
    when = date.fromisoformat(day)
    words = {"{{DATE}}": f"{when.day:02} {MONTHS[when.month - 1]} {when.year}", "{{ISO}}": day}
    text = json.dumps(_data()["templates"][name])
    for word, value in words.items():
        text = text.replace(word, value)
    return SwiftTemplate(**json.loads(text))


@dataclass
class SwiftTurn:
    """A turn on its way: roles ``user``, ``assistant`` and ``tool``.

    Attributes:
        parts: the text of an answer, in as many parts as turns were joined; a question has one.
        losses, scales: the row's own word on each part, None for none.
        prompt: of a ``tool`` turn: its contexts, the end of the answer before it among them.
    """

    role: str
    parts: list[str]
    losses: list[Any] = field(default_factory=list)
    scales: list[Any] = field(default_factory=list)
    prompt: list[Context] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Part of a row with one weight; ``answer`` counts the answers, -1 for other text."""

    context: Context
    weight: float
    answer: int = -1


@dataclass(frozen=True, slots=True)
class SwiftRow:
    """Ids, which of them carry loss, and the answers."""

    ids: list[int]
    trained: np.ndarray
    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class SwiftEncoder:
    """Rows to tokens under one template.

    Attributes:
        base: the strategy of ``loss_scale``; ``strategies``: those chained to it, by name.
        keeps_thinking: whether reasoning of earlier answers stays.
        adds_prefix: whether answers without reasoning get the template's empty block.
    """

    template: SwiftTemplate
    tokenizer: PreTrainedTokenizerFast
    base: str
    strategies: Sequence[str]
    keeps_thinking: bool
    adds_prefix: bool

    def row(self, turns: Sequence[SwiftTurn], system: str | None) -> SwiftRow:
        """``turns`` are pairs of question and answer; a last question may have no answer."""
        turns = self._thought(turns)
        pieces = self._weighed(self._contexts(turns, system), turns)
        return self._tokens(_merged(pieces))

    def last_question(self, turns: Sequence[SwiftTurn]) -> int:
        return max((i for i, turn in enumerate(turns) if turn.role in ("user", "tool")), default=-1)

    def _thought(self, turns: Sequence[SwiftTurn]) -> list[SwiftTurn]:
        """The turns with an empty block of reasoning where one is added, without reasoning where it is removed."""
        t, last = self.template, self.last_question(turns)
        first = last if self.base == "last_round" and not t.preserve_thinking else -1
        out = []
        for i, turn in enumerate(turns):
            parts = list(turn.parts)
            if turn.role == "assistant" and parts:
                lead = t.non_thinking_prefix
                if self.adds_prefix and lead and i >= first and not parts[0].startswith(("<think>", lead)):
                    parts[0] = lead + parts[0]
                if not self.keeps_thinking and i < last:
                    parts[0] = t.history_thinking_prefix + parts[0].split("</think>")[-1].strip()
            out.append(SwiftTurn(turn.role, parts, turn.losses, turn.scales, turn.prompt))
        return out

    def _contexts(self, turns: Sequence[SwiftTurn], system: str | None) -> list[tuple[Context, str]]:
        """Contexts with their kind: ``answer``, ``suffix`` or ``other``."""
        t, out = self.template, list[tuple[Context, str]]()
        behind: list[int] = []
        if t.auto_add_bos:
            whole = self.tokenizer("a", verbose=False)["input_ids"]
            single = self.tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"]
            at = whole.index(single[0])
            behind = whole[at + 1 :]
            if at:
                out.append((whole[:at], "other"))
        prefix = t.prefix if t.is_post_system or not system else t.system_prefix or ()
        out += self._filled(prefix, {"{{SYSTEM}}": system})
        n = (len(turns) + 1) // 2
        for i in range(n):
            question = turns[2 * i]
            answered = 2 * i + 1 < len(turns)
            words = {"{{SYSTEM}}": system, "{{QUERY}}": "" if question.role == "tool" else question.parts[0],
                     "{{ROUND0}}": str(i), "{{ROUND1}}": str(i + 1)}  # fmt: skip
            prompt = question.prompt if question.role == "tool" else self._prompt(i == n - 1)
            out += self._filled(prompt, words)
            if not answered:  # the row ends as a prompt does
                lead = t.non_thinking_prefix or (t.thinking_prefix if t.is_thinking else "")
                out += [(lead, "other")] if lead else []
                continue
            out.append(("", f"answer {i}"))
            if i < n - 1:
                if turns[2 * i + 2].role != "tool":
                    out += [(context, "other") for context in self._resolved(t.chat_sep or ())]
            elif not behind and not turns[2 * i + 1].parts[-1].endswith(self._stops()):
                out += [(context, "suffix") for context in self._resolved(t.suffix)]
        if behind:
            out.append((behind, "suffix"))
        return out

    def _prompt(self, is_last: bool) -> Sequence[Context]:
        if self.template.is_post_system and not is_last:
            return [context for context in self.template.prompt if "{{SYSTEM}}" not in context]
        return self.template.prompt

    def _stops(self) -> tuple[str, ...]:
        suffix = self.template.suffix
        own = [suffix[-1].strip()] if suffix and isinstance(suffix[-1], str) else []
        eos = self.tokenizer.eos_token
        return tuple(dict.fromkeys([*self.template.stop, *own, *([eos] if eos else [])]))

    def _resolved(self, contexts: Sequence[Context]) -> list[Context]:
        """Names of special ids as ids."""
        out: list[Context] = []
        for context in contexts:
            if isinstance(context, str):
                out.append(context)
            else:
                ids = [getattr(self.tokenizer, i) if isinstance(i, str) else i for i in context]
                out.append([i for i in ids if i is not None])
        return out

    def _filled(self, contexts: Sequence[Context], words: Mapping[str, str | None]) -> list[tuple[Context, str]]:
        out: list[tuple[Context, str]] = []
        for context in self._resolved(contexts):
            if isinstance(context, str):
                for word, value in words.items():
                    context = context.replace(word, value) if value is not None else context
            if len(context):
                out.append((context, "other"))
        return out

    def _weighed(self, contexts: Sequence[tuple[Context, str]], turns: Sequence[SwiftTurn]) -> list[_Piece]:
        pieces, answer, last = list[_Piece](), 0, self.last_question(turns)
        for context, kind in contexts:
            is_last = 2 * answer >= last
            if not kind.startswith("answer"):
                by_default = self.base == "all" or (kind == "suffix" and (self.base == "default" or is_last))
                pieces += self._parts(context, by_default, None, -1)
                continue
            turn = turns[2 * answer + 1]
            for k, text in enumerate(turn.parts):
                loss, scale = turn.losses[k], turn.scales[k]
                by_default = self.base in ("all", "default") or is_last
                pieces += self._parts(text, bool(loss) or (loss is None and by_default), scale, answer)
            answer += 1
        return pieces

    def _parts(self, context: Context, has_loss: bool, scale: Any, answer: int) -> list[_Piece]:
        if not has_loss:
            return [_Piece(context, 0.0, answer)]
        if scale is not None or not isinstance(context, str):
            return [_Piece(context, 1.0 if scale is None else float(scale), answer)]
        parts = [(context, 1.0)]
        for name in self.strategies:
            parts = [(own, w * v) for text, w in parts for own, v in _split(text, STRATEGIES[name])]
        return [_Piece(text, weight, answer) for text, weight in parts]

    def _tokens(self, segments: Sequence[tuple[list[_Piece], float]]) -> SwiftRow:
        patterns = marks(self.tokenizer, self.tokenizer.eos_token)
        ids, trained, starts = list[int](), list[bool](), list[int]()
        texts: list[tuple[str, Encoded | None]] = []
        for pieces, weight in segments:
            starts.append(len(ids))
            first = pieces[0].context
            if isinstance(first, str):
                text = "".join(str(piece.context) for piece in pieces)
                encoded = encode(self.tokenizer, text, patterns, add_special_tokens=False)
                own = encoded.ids.tolist()
                texts.append((text, encoded))
            else:
                own = [int(i) for i in first]
                texts.append(("", None))
            ids += own
            trained += [weight > 0] * len(own)
        mask = self._with_ends(ids, np.asarray(trained, dtype=bool))
        return SwiftRow(ids, mask, _turns(segments, texts, starts, ids, patterns))

    def _with_ends(self, ids: Sequence[int], trained: np.ndarray) -> np.ndarray:
        """The mask with loss on the template's suffix right behind every trained part, and none on the first token."""
        suffix = list[int]()
        for context in self._resolved(self.template.suffix):
            if isinstance(context, str):
                suffix += self.tokenizer(context, add_special_tokens=False, verbose=False)["input_ids"]
            else:
                suffix += [int(i) for i in context]
        mask, n = trained.copy(), len(trained)
        for start in (np.flatnonzero(trained[:-1] & ~trained[1:]) + 1).tolist() if n else ():
            stop = next((k for k in range(start, n) if trained[k]), n)
            if stop - start >= len(suffix) and list(ids[start : start + len(suffix)]) == suffix:
                mask[start : start + len(suffix)] = True
        mask[:1] = False
        return mask


def _split(text: str, weights: Mapping[str, float]) -> list[tuple[str, float]]:
    """The text at what the patterns match, each part with the weight of the first pattern it begins with."""
    cut = [part for part in re.split("|".join(f"({p})" for p in weights), text, flags=re.DOTALL) if part]
    return [(part, next((w for p, w in weights.items() if re.match(p, part, re.DOTALL)), 1.0)) for part in cut]


def _merged(pieces: Sequence[_Piece]) -> list[tuple[list[_Piece], float]]:
    """Neighbouring texts of one weight together; ids stay apart."""
    out: list[tuple[list[_Piece], float]] = []
    for piece in pieces:
        joins = out and isinstance(piece.context, str) and isinstance(out[-1][0][0].context, str)
        if joins and out[-1][1] == piece.weight:
            out[-1][0].append(piece)
        else:
            out.append(([piece], piece.weight))
    return out


def _turns(
    segments: Sequence[tuple[list[_Piece], float]],
    texts: Sequence[tuple[str, Encoded | None]],
    starts: Sequence[int],
    ids: Sequence[int],
    patterns: Any,
) -> tuple[Turn, ...]:
    """Where each answer stands, its stop token with it."""
    places: dict[int, tuple[int, int, bool]] = {}
    for k, (pieces, _) in enumerate(segments):
        text, encoded = texts[k]
        at = 0
        for piece in pieces:
            end = at + len(piece.context)
            if piece.answer >= 0 and encoded is not None:
                mark = patterns.added_next.match(text, end)
                place = encoded.tokens(at, mark.end() if mark else end)
                if place is not None:
                    first, past = (0 if at == 0 else place[0]) + starts[k], place[1] + starts[k]
                    stops = mark is not None and ids[past - 1] in patterns.ids
                    if not mark and not text[end:].strip() and k + 1 < len(segments):
                        past, stops = _stop_in(texts[k + 1], segments[k + 1][0][0], starts[k + 1], past, ids, patterns)
                    old = places.get(piece.answer)
                    places[piece.answer] = (old[0] if old else first, past, stops)
            at = end
    return tuple(Turn(*places[i]) for i in sorted(places))


def _stop_in(
    following: tuple[str, Encoded | None], piece: _Piece, start: int, past: int, ids: Sequence[int], patterns: Any
) -> tuple[int, bool]:
    """The end of an answer whose stop token stands in the segment behind it."""
    text, encoded = following
    if piece.answer >= 0:
        return past, False
    if encoded is None:
        stops = start < len(ids) and ids[start] in patterns.ids
        return (start + 1, True) if stops else (past, False)
    mark = patterns.added_next.match(text, 0)
    place = encoded.tokens(0, mark.end()) if mark else None
    if place is None or ids[start + place[1] - 1] not in patterns.ids:
        return past, False
    return start + place[1], True
