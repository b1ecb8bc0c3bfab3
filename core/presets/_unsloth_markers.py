"""The markers between which Unsloth's ``train_on_responses_only`` puts loss, and where they part a row.

Written from what the function does to rows and templates, which ``bench/twins.py`` compares. Its code is under the
LGPL, and none of it is here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Words that no template changes and no text holds, in place of a question and of an answer.
QUESTION, ANSWER = "\u2060USERPROBE7q\u2060", "\u2060ASSTPROBE4z\u2060"
# Text beside a marker with which its outer characters may become one token.
_NEIGHBOURS = "\\{aA1(.<}>"

# Questions and answers in turn to their text under the template, with a generation prompt or without.
Render = Callable[[Sequence[tuple[str, str]], bool], str]


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker as tokens: ``core`` is always there, the tokens of ``left`` and ``right`` may have merged with text."""

    core: list[int]
    left: list[int]
    right: list[int]


@dataclass(frozen=True, slots=True)
class Boundaries:
    """What begins and ends an answer.

    Attributes:
        instruction, response: markers of a question and of an answer.
        opener: special tokens that both begin with, which every turn begins with; may be empty.
        eos, bos: special tokens of the tokenizer, None where it has none.
    """

    instruction: Marker
    response: Marker
    opener: list[int]
    eos: int | None
    bos: int | None

    def answers(self, ids: Sequence[int]) -> list[tuple[int, int]]:
        """Ranges of tokens that carry loss, in order; an end-of-sequence token that ends an answer belongs to it."""
        ids, found, at = list(ids), list[tuple[int, int]](), 0
        while at < len(ids):
            if not _begins(ids, at, self.response.core):
                at += 1
                continue
            start = _over(ids, at + len(self.response.core), self.response.right)
            stop, at = self._end(ids, start)
            if stop is not None:
                found.append((start, stop))
        return found

    def _end(self, ids: list[int], start: int) -> tuple[int | None, int]:
        """Where the answer that begins at ``start`` stops, and where to look on; None for an answer without tokens."""
        for at in range(start, len(ids)):
            if ids[at] == self.eos:
                return at + 1, at + 1
            if ids[at] == self.bos or any(
                mark and _begins(ids, at, mark) for mark in (self.opener, self.response.core)
            ):
                return at, at
            asked = _begins(ids, at, self.instruction.core)
            if asked or at == len(ids) - 1:
                first = at
                for token in reversed(self.instruction.left):
                    if first < 1 or ids[first - 1] != token:
                        break
                    first -= 1
                if first == len(ids) - 1:
                    return len(ids), len(ids)
                behind = _over(ids, at + len(self.instruction.core), self.instruction.right) if asked else len(ids)
                return first, behind
        return None, len(ids)


def _begins(ids: Sequence[int], at: int, mark: Sequence[int]) -> bool:
    return ids[at] == mark[0] and list(ids[at : at + len(mark)]) == list(mark)


def _over(ids: Sequence[int], at: int, optional: Sequence[int]) -> int:
    """The position behind those of the optional tokens that stand at ``at``."""
    for token in optional:
        if at >= len(ids) or ids[at] != token:
            break
        at += 1
    return at


# ------------------------------------------------------------------------------------------------ markers as tokens


def boundaries(tokenizer: PreTrainedTokenizerFast, instruction: str, response: str) -> Boundaries:
    """Both markers as tokens of this tokenizer.

    Raises:
        UserError: one of them has no tokens.
    """
    asked, answered = (marker(tokenizer, text) for text in (instruction, response))
    if not asked.core or not answered.core:
        which = "instruction_part" if not asked.core else "response_part"
        raise UserError(
            f"Unsloth stops: {which} has no tokens.",
            f"The markers are {instruction!r} and {response!r}.",
            "Set both as they were in the training, or leave both empty.",
        )
    # Cut to the opening that all turns share, a marker would match every turn: what may follow then must follow.
    if answered.right and asked.core[: len(answered.core)] == answered.core:
        answered = replace(answered, core=answered.core + answered.right, right=[])
    if asked.right and answered.core[: len(asked.core)] == asked.core:
        asked = replace(asked, core=asked.core + asked.right, right=[])
    shared = 0
    while shared < min(len(asked.core), len(answered.core)) and asked.core[shared] == answered.core[shared]:
        shared += 1
    opener, added = asked.core[:shared], tokenizer.added_tokens_decoder
    special = {i for i, token in added.items() if token.special} | set(tokenizer.all_special_ids)
    visible = any(i in added and added[i].content.strip() for i in opener)
    if not visible or not all(i in special for i in opener):
        opener = []
    return Boundaries(asked, answered, opener, tokenizer.eos_token_id, tokenizer.bos_token_id)


def marker(tokenizer: PreTrainedTokenizerFast, text: str) -> Marker:
    """The text's tokens, parted into those that stay whatever stands beside it and those that may merge with it."""

    def ids_of(piece: str) -> list[int]:
        ids: list[int] = tokenizer(piece, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    whole = ids_of(text)
    n = len(whole)
    start, stop = 0, n
    for neighbour in _NEIGHBOURS:
        stop = min(stop, _common(whole, ids_of(text + neighbour)))
        start = max(start, n - _common(whole[::-1], ids_of(neighbour + text)[::-1]))
    added = tokenizer.added_tokens_decoder
    anchored = any(str(added[i]).strip() for i in whole[start:stop] if i in added)
    if start >= stop or not anchored:
        start, stop = 0, n
    return Marker(whole[start:stop], whole[:start], whole[stop:])


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    k = 0
    while k < min(len(one), len(other)) and one[k] == other[k]:
        k += 1
    return k


# ------------------------------------------------------------------------------------- markers from the template


def markers_of(tokenizer: PreTrainedTokenizerFast, render: Render) -> tuple[str, str]:
    """The texts before a question and before an answer, as Unsloth finds them when none are given.

    Raises:
        UserError: they cannot be told from the template.
    """
    pair = [("user", QUESTION), ("assistant", ANSWER)]
    whole = render(pair * 3, False)
    if QUESTION not in whole or ANSWER not in whole:
        raise _unfound("Its text does not hold the turns' contents.")
    words = _Words.of(tokenizer)
    before_question, before_answer = _between(whole, ANSWER, QUESTION), _between(whole, QUESTION, ANSWER)
    asked = pair * 2 + pair[:1]
    with_header, without = render([*pair, *asked], True), render([*pair, *asked], False)
    header = ""
    if with_header != without:
        header = words.apart(_behind(with_header, QUESTION), _behind(without, QUESTION))[0]
    if header and before_answer.endswith(header) and len(header) < len(before_answer):
        response = header
        instruction = words.without(before_question, before_answer[: -len(header)])
    elif header and header == before_answer:
        response, instruction = words.apart(header, before_question)
        instruction = words.without(instruction, " ", "\t", words.eos, words.bos)
    else:
        response, instruction = (
            words.without(text, " ", "\t", words.eos, words.bos) for text in (before_answer, before_question)
        )
    response = _without_empty_reasoning(response, render)
    texts = [words.without(text, " ", "\t").rstrip(" \t") for text in (instruction, response)]
    if not all(texts):
        raise _unfound("One of the markers is empty.")
    instruction, response = (_matching(tokenizer, text, whole) for text in texts)
    return instruction, response


@dataclass(frozen=True, slots=True)
class _Words:
    """The tokenizer's special and added texts, longest first."""

    special: tuple[str, ...]
    eos: str
    bos: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> _Words:
        texts = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()} - {""}
        return cls(tuple(sorted(texts, key=len, reverse=True)), tokenizer.eos_token or "", tokenizer.bos_token or "")

    def without(self, text: str, *leads: str) -> str:
        """The text without any of ``leads`` at its start, as often as they stand there."""
        while lead := next((lead for lead in leads if lead and text.startswith(lead)), ""):
            text = text[len(lead) :]
        return text

    def apart(self, one: str, other: str) -> tuple[str, str]:
        """Both texts from where they differ; only whole special texts and whole runs of blanks count as shared."""
        while True:
            blanks = [m[0] if (m := re.match(r"\s+", text)) else "" for text in (one, other)]
            shared = blanks[0] if blanks[0] == blanks[1] else ""
            shared = shared or next((s for s in self.special if one.startswith(s)), "")
            if not shared or not other.startswith(shared):
                return one, other
            one, other = one[len(shared) :], other[len(shared) :]


def _between(text: str, left: str, right: str) -> str:
    """The most frequent text from ``left`` to the next ``right``; the first of them where several are as frequent."""
    gaps = []
    for match in re.finditer(re.escape(left), text):
        at = text.find(right, match.end())
        if at >= 0:
            gaps.append(text[match.end() : at])
    return Counter(gaps).most_common(1)[0][0] if gaps else ""


def _behind(text: str, word: str) -> str:
    return text[text.rfind(word) + len(word) :] if word in text else ""


def _without_empty_reasoning(response: str, render: Render) -> str:
    """The marker without an empty block of reasoning that answers with reasoning do not have there."""
    block = re.search(r"<([^\s/>]+)>\s*</\1>\s*$", response) or re.search(r"</([^\s/>]+)>\s*$", response)
    if block is None or block.start() == 0:
        return response
    header, tag = response[: block.start()], block[1]
    filled = render([("user", QUESTION), ("assistant", f"<{tag}>rZ9</{tag}>{ANSWER}")], False)
    at = filled.rfind(header)
    return header if at >= 0 and not filled[at + len(header) :].startswith(block[0]) else response


def _matching(tokenizer: PreTrainedTokenizerFast, text: str, whole: str) -> str:
    """The marker, or a form of it with a blank before it, whose tokens stand at least twice in the probe."""
    ids = tokenizer(whole, add_special_tokens=False, verbose=False)["input_ids"]
    forms = (text, " " + text, "\n" + text)
    counts = []
    for form in forms:
        core = marker(tokenizer, form).core
        counts.append(sum(_begins(ids, at, core) for at in range(len(ids))) if core else 0)
    for least, considered in ((2, forms), (1, forms[:2])):
        for form, count in zip(considered, counts, strict=False):
            if count >= least:
                return form
    raise _unfound(f"The tokens of {text!r} alone do not stand in it.")


def _unfound(why: str) -> UserError:
    return UserError(
        "Unsloth cannot tell from this chat template where questions and answers begin.",
        why,
        "Set instruction_part and response_part as they were in the training.",
    )
