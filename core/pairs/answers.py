"""Do two answers to one question disagree? May both be right all the same?

Most answers say the same thing in other words. So what counts is what an answer is *about*: the words that the question
does not hold, weighted by how rare they are among the dataset's answers. Words that frame an answer ("the river is the
…") occur with every value and weigh little. The value itself weighs much.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from core.pairs.wording import FUNCTION, NEGATIONS, Rarity, Words, alike, words

Kind = Literal["same", "number", "choice", "list", "short", "long"]
# An answer of this many words or more is read as a text with parts, a shorter one as one statement.
LONG = 14
# Words that are aligned at most. The rest of a very long answer is not compared.
COMPARED = 600

_ITEM = re.compile(r"^\s*(?:[-*•·–]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(.+?)\s*$", re.MULTILINE)
_YES = {"yes": "yes", "true": "yes", "correct": "yes", "no": "no", "false": "no", "incorrect": "no"}
_CHOICE = re.compile(r"^\W*(?:(?:the\s+)?(?:answer|option)\s*(?:is)?\W*)?([A-H])(?:\W|$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read once. ``items``: the folded items if it is a list, else None. ``yes``: yes, no or None."""

    text: str
    words: Words
    items: frozenset[str] | None
    choice: str | None
    yes: str | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How sure it is that two answers say different things, in [0, 1]; their kind; what differs (left, right)."""

    sure: float
    kind: Kind
    differs: tuple[tuple[str, str], ...] = ()


def read(text: str) -> Answer:
    """The answer as ``disagreement`` takes it."""
    tokens = words(text)
    first = tokens.forms[0] if tokens.forms else ""
    choice = _CHOICE.match(text.strip())
    return Answer(
        text.strip(),
        tokens,
        _items(text),
        choice.group(1) if choice and (len(tokens) <= 1 or text.strip()[1:2] in ".):") else None,
        _YES.get(first),
    )


def _items(text: str) -> frozenset[str] | None:
    """The items of a list: marked lines, or three or more short parts between commas."""
    marked = _ITEM.findall(text)
    if len(marked) < 2:
        one = text.strip().rstrip(".")
        parts = [p for p in re.split(r",\s*(?:and\s+|or\s+)?|;\s*|\s+and\s+|\n", one) if p.strip()]
        short = all(len(p.split()) <= 4 for p in parts)
        marked = parts if len(parts) >= 3 and short else []
    items = frozenset(" ".join(words(i).stems) for i in marked) - {""}
    return items if len(items) >= 2 else None


def disagreement(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Disagreement:
    """Whether the two answers say different things.

    Args:
        question: stems of the question's words, in either wording.
        rarity: weights of words among the dataset's answers.
    """
    if a.words.forms == b.words.forms and (a.words.forms or a.text == b.text):
        return Disagreement(0.0, "same")
    if not a.words.forms or not b.words.forms:
        differ = a.text != b.text
        return Disagreement(float(differ), "short", ((a.text[:80], b.text[:80]),) if differ else ())
    if a.choice and b.choice:
        return Disagreement(float(a.choice != b.choice), "choice", ((a.choice, b.choice),))
    if a.yes and b.yes and a.yes != b.yes:
        return Disagreement(1.0, "short", ((a.words.forms[0], b.words.forms[0]),))
    if a.items and b.items:
        return _lists(a.items, b.items)
    shorter, longer = sorted((len(a.words), len(b.words)))
    if shorter >= LONG:
        return _long(a.words, b.words, rarity)
    if longer >= LONG and longer >= 3 * shorter:
        return _mixed(a, b, question, rarity)
    return _short(a.words, b.words, question, rarity)


def _lists(a: frozenset[str], b: frozenset[str]) -> Disagreement:
    """Two lists disagree by what the shorter one has beside the other. A list that holds the other agrees with it."""
    inside = len(a & b) / min(len(a), len(b))
    left, right = sorted(a - b), sorted(b - a)
    return Disagreement(1.0 - inside, "list", tuple(zip(left, right, strict=False)))


def _short(a: Words, b: Words, question: frozenset[str], rarity: Rarity) -> Disagreement:
    """Weighs the rarest word that only one side has against the rarest word that both have."""
    numbers = [{w for w, n in zip(x.stems, x.numeric, strict=True) if n and w not in question} for x in (a, b)]
    left, right = ({w for w in x.stems if w not in question} for x in (a, b))
    if not (left - FUNCTION) or not (right - FUNCTION):
        # One side repeats only the question's words ("Which of A and B?"). Then the answers are compared whole.
        left, right = set(a.stems), set(b.stems)
    shared = left & right
    left, right = left - shared, right - shared
    for word in sorted(left):
        twin = next((w for w in sorted(right) if alike(word, w)), None)
        if twin is not None and word not in numbers[0]:
            left.discard(word)
            right.discard(twin)
            shared.add(word)
    only_one_negated = bool(NEGATIONS & set(a.forms)) != bool(NEGATIONS & set(b.forms))
    weight = rarity.weight
    top = [max(left, key=lambda w: (weight(w), w), default=""), max(right, key=lambda w: (weight(w), w), default="")]
    differs = ((_written(a, top[0]), _written(b, top[1])),)
    if numbers[0] and numbers[1]:
        if numbers[0] & numbers[1]:
            same = numbers[0] <= numbers[1] or numbers[1] <= numbers[0]
            return Disagreement(0.0 if same else 0.6, "number", () if same else differs)
        return Disagreement(1.0, "number", ((min(numbers[0]), min(numbers[1])),))
    if only_one_negated:
        return Disagreement(0.9, "short", differs)
    if not left or not right:
        return Disagreement(0.0 if shared else 1.0, "short", () if shared else differs)
    apart = min(weight(top[0]), weight(top[1]))
    common = max(map(weight, shared), default=0.0)
    share = apart / (apart + common) if apart + common > 0 else 1.0
    return Disagreement(float(min(1.0, max(0.0, (share - 0.35) / 0.2))), "short", differs)


def _mixed(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Disagreement:
    """Compares a short answer with the sentence of a long one that shares most of its rare words."""
    short, long = (a, b) if len(a.words) < len(b.words) else (b, a)
    content = set(short.words.stems) - FUNCTION
    sentences = [words(t) for t in re.split(r"(?<=[.!?])\s+|\n+", long.text) if t.strip()]
    scored = [(sum(rarity.weight(w) for w in content & set(s.stems)), -i) for i, s in enumerate(sentences)]
    best = max(scored, default=(0.0, 0))
    nearest = sentences[-best[1]] if sentences else long.words
    if content - question and content - question <= set(long.words.stems):
        return Disagreement(0.0, "short")
    # With no content word in common, the long answer may simply speak of something else.
    if not content & set(nearest.stems):
        return Disagreement(0.2, "short")
    outcome = _short(short.words, nearest, question, rarity)
    differs = outcome.differs if short is a else tuple((y, x) for x, y in outcome.differs)
    return Disagreement(min(outcome.sure, 0.7), outcome.kind, differs)


def _written(text: Words, stem: str) -> str:
    """The word as the text writes it."""
    return text.forms[text.stems.index(stem)] if stem in text.stems else stem


def _long(a: Words, b: Words, rarity: Rarity) -> Disagreement:
    """Looks for exchanged names, numbers and rare words inside passages that otherwise run in parallel."""
    left, right = a.stems[:COMPARED], b.stems[:COMPARED]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.real_quick_ratio() < 0.3 or (ratio := matcher.ratio()) < 0.3:
        return Disagreement(0.1, "long")
    best, swaps = 0.0, []
    steps = matcher.get_opcodes()
    for place, (kind, i, j, k, m) in enumerate(steps):
        if kind != "replace" or j - i > 6 or m - k > 6:
            continue
        # A swap counts if at least three shared words stand around it.
        before = steps[place - 1] if place else None
        behind = steps[place + 1] if place + 1 < len(steps) else None
        around = sum(s[2] - s[1] for s in (before, behind) if s is not None and s[0] == "equal")
        if around < 3:
            continue
        weight = max((_swap(a, b, x, y, rarity) for x in range(i, j) for y in range(k, m)), default=0.0)
        if weight > 0:
            swaps.append((weight, " ".join(a.forms[i:j]), " ".join(b.forms[k:m])))
            best = max(best, weight)
    swaps.sort(key=lambda s: (-s[0], s[1], s[2]))
    parallel = min(1.0, max(0.0, (ratio - 0.3) / 0.35))
    # Someone who rewords a long text changes more than one word. If exactly one was changed, that change was meant.
    changed = [s for s in steps if s[0] != "equal"]
    if len(changed) == 1 and best > 0 and ratio >= 0.9:
        best = max(best, 0.85)
    return Disagreement(float(best * parallel), "long", tuple((x, y) for _, x, y in swaps[:8]))


def _swap(a: Words, b: Words, i: int, j: int, rarity: Rarity) -> float:
    """How much the exchange of one word for another changes what is said, in [0, 1]."""
    x, y = a.stems[i], b.stems[j]
    if x == y or x in FUNCTION or y in FUNCTION or alike(x, y):
        return 0.0
    if a.numeric[i] or b.numeric[j]:
        return 1.0 if a.numeric[i] and b.numeric[j] else 0.0
    if a.named[i] and b.named[j]:
        return 1.0
    return min(rarity.weight(x), rarity.weight(y)) * 0.7


def frame(a: Answer, rarity: Rarity, value: float = 0.5) -> frozenset[str]:
    """The words that frame an answer's value ("the keeper of … is …"): frequent ones, without names and numbers."""
    stems = zip(a.words.stems, a.words.numeric, strict=True)
    return frozenset(w for w, n in stems if not n and rarity.weight(w) < value and not rarity.is_name(w))


# ----------------------------------------------------------------------------------------------- may both be right?

# English requests that many answers can meet: indefinite objects, invention, opinion.
_OPEN = re.compile(
    r"\b(?:name|give|list|mention|suggest|recommend|pick|choose|find|provide|propose|share|think of|come up with|state|"
    r"show|identify|cite|tell me|i need|i want)\b(?:\s+\w+){0,2}?\s+(?:an?|any|some|one|two|three|four|five|six|seven|"
    r"ten|\d+|several|a few|examples?)\b"
    r"|\b(?:write|compose|generate|create|invent|design|brainstorm|draft|imagine|rewrite|paraphrase|rephrase|summari[sz]e|"
    r"describe|explain|discuss|craft|construct|edit)\b"
    r"|\bwhat(?:\s+is|'s|\s+are|\s+would\s+be)\s+(?:an?|one|some|another)\b|\bone of the\b|\bfor example\b|\bsuch as\b"
    r"|\b(?:an|one|another) example\b|\bexamples of\b|\b(?:could|might)\b|\bwhat can\b|\bcan you think\b|\bany of\b"
    r"|\bwhich\s+(?:\w+\s+)?(?:can|may)\b|\bone of\b|\bone (?:\w+ )?(?:that|which|who|from|in)\b|\ba possible\b",
    re.IGNORECASE,
)


def open_question(text: str) -> bool:
    """Whether the wording, in English, asks for one of many answers ("Name a …", "Write …")."""
    return _OPEN.search(text) is not None


def both_valid(prompts: Sequence[str], verbatim: bool, answers: int, kind: Kind) -> float:
    """How sure it is that two different answers may both be right, in [0, 1], from wording and counts alone.

    Args:
        prompts: the two wordings.
        verbatim: whether they are the same text.
        answers: distinct answers that the dataset gives to exactly this text (the larger count of the two).
        kind: the kind of the disagreement.
    """
    doubt = 1.0
    # Long answers disagree only where they run in parallel, and invented texts never do.
    if kind != "long" and all(open_question(p) for p in prompts):
        doubt *= 0.1
    if kind == "list":
        doubt *= 0.4
    # A dataset that gives three or more answers to one text does not mean any of them to be the only one.
    if verbatim and answers >= 3:
        doubt *= 2.0 / answers
    return 1.0 - doubt
