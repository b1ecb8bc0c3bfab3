"""Do two answers to one question disagree, and may both be right all the same?

Answers say the same thing in other words more often than not, so what counts is what they are *about*: words that the
question does not hold, weighted by how rare they are among the dataset's answers. Words that frame an answer ("the
river is the …") occur with every value and weigh little; the value weighs much.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from core.pairs.wording import FUNCTION, NEGATIONS, Rarity, Words, alike, words

Kind = Literal["same", "number", "choice", "list", "short", "long"]
# From here on an answer is read as a text with parts, below it as one statement.
LONG = 14
# Words aligned at most; the rest of very long answers is not compared.
COMPARED = 600

_ITEM = re.compile(r"^\s*(?:[-*•·–]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(.+?)\s*$", re.MULTILINE)
_YES = {"yes": "yes", "true": "yes", "correct": "yes", "no": "no", "false": "no", "incorrect": "no"}
_CHOICE = re.compile(r"^\W*(?:(?:the\s+)?(?:answer|option)\s*(?:is)?\W*)?([A-H])(?:\W|$)")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, read once. ``items``: of a list, folded; None where it is none. ``yes``: yes, no or None."""

    text: str
    words: Words
    items: frozenset[str] | None
    choice: str | None
    yes: str | None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How sure two answers say different things, in [0, 1], what kind they are, and what differs (left, right)."""

    sure: float
    kind: Kind
    differs: tuple[tuple[str, str], ...] = ()


def read(text: str) -> Answer:
    """The answer as ``disagreement`` takes it."""
    found = words(text)
    first = found.forms[0] if found.forms else ""
    choice = _CHOICE.match(text.strip())
    return Answer(
        text.strip(),
        found,
        _items(text),
        choice.group(1) if choice and (len(found) <= 1 or text.strip()[1:2] in ".):") else None,
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


def disagreement(a: Answer, b: Answer, asked: frozenset[str], rarity: Rarity) -> Disagreement:
    """Whether the two answers say different things.

    Args:
        asked: stems of the question's words, in either wording.
        rarity: of the dataset's answers.
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
        return _mixed(a, b, asked, rarity)
    return _short(a.words, b.words, asked, rarity)


def _lists(a: frozenset[str], b: frozenset[str]) -> Disagreement:
    """One list that holds the other does not contradict it."""
    both = len(a & b)
    inside = both / min(len(a), len(b))
    left, right = sorted(a - b), sorted(b - a)
    return Disagreement(1.0 - inside, "list", tuple(zip(left, right, strict=False)))


def _short(a: Words, b: Words, asked: frozenset[str], rarity: Rarity) -> Disagreement:
    """The rarest word that only one side has, against the rarest that both have."""
    numbers = [{w for w, n in zip(x.stems, x.numeric, strict=True) if n and w not in asked} for x in (a, b)]
    mine, theirs = ({w for w in x.stems if w not in asked} for x in (a, b))
    if not mine or not theirs or not (mine - FUNCTION) or not (theirs - FUNCTION):
        # All that one side says stands in the question already ("Which of A and B?"): then it is compared whole.
        mine, theirs = set(a.stems), set(b.stems)
    shared = mine & theirs
    left, right = mine - shared, theirs - shared
    for word in sorted(left):
        twin = next((w for w in sorted(right) if alike(word, w)), None)
        if twin is not None and word not in numbers[0]:
            left.discard(word)
            right.discard(twin)
            shared.add(word)
    one = bool(NEGATIONS & set(a.forms)) != bool(NEGATIONS & set(b.forms))
    weight = rarity.weight
    top = [max(left, key=lambda w: (weight(w), w), default=""), max(right, key=lambda w: (weight(w), w), default="")]
    differs = ((_written(a, top[0]), _written(b, top[1])),)
    if numbers[0] and numbers[1]:
        if numbers[0] & numbers[1]:
            same = numbers[0] <= numbers[1] or numbers[1] <= numbers[0]
            return Disagreement(0.0 if same else 0.6, "number", () if same else differs)
        return Disagreement(1.0, "number", ((min(numbers[0]), min(numbers[1])),))
    if one:
        return Disagreement(0.9, "short", differs)
    if not left or not right:
        return Disagreement(0.0 if shared else 1.0, "short", () if shared else differs)
    apart = min(weight(top[0]), weight(top[1]))
    common = max(map(weight, shared), default=0.0)
    share = apart / (apart + common) if apart + common > 0 else 1.0
    return Disagreement(float(min(1.0, max(0.0, (share - 0.35) / 0.2))), "short", differs)


def _mixed(a: Answer, b: Answer, asked: frozenset[str], rarity: Rarity) -> Disagreement:
    """A short answer against the sentence of a long one that is nearest to it; one that says nothing of it is none."""
    short, long = (a, b) if len(a.words) < len(b.words) else (b, a)
    mine = set(short.words.stems)
    parts = [words(t) for t in re.split(r"(?<=[.!?])\s+|\n+", long.text) if t.strip()]
    told = mine - FUNCTION
    scored = [(sum(rarity.weight(w) for w in told & set(p.stems)), -i) for i, p in enumerate(parts)]
    best = max(scored, default=(0.0, 0))
    about = parts[-best[1]] if parts else long.words
    if told - asked and told - asked <= set(long.words.stems):
        return Disagreement(0.0, "short")
    # Without a word in common beyond the question's the long answer may simply speak of something else.
    if not (mine & set(about.stems)) - FUNCTION:
        return Disagreement(0.2, "short")
    found = _short(short.words, about, asked, rarity)
    differs = found.differs if short is a else tuple((y, x) for x, y in found.differs)
    return Disagreement(min(found.sure, 0.7), found.kind, differs)


def _written(found: Words, stem: str) -> str:
    return found.forms[found.stems.index(stem)] if stem in found.stems else stem


def _long(a: Words, b: Words, rarity: Rarity) -> Disagreement:
    """Replaced names, numbers and rare words within passages that otherwise run in parallel."""
    left, right = a.stems[:COMPARED], b.stems[:COMPARED]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    if matcher.real_quick_ratio() < 0.3 or (ratio := matcher.ratio()) < 0.3:
        return Disagreement(0.1, "long")
    best, found = 0.0, []
    steps = matcher.get_opcodes()
    for place, (kind, i, j, k, m) in enumerate(steps):
        if kind != "replace" or j - i > 6 or m - k > 6:
            continue
        # A swap counts between words that both texts share; at least three of them around it.
        before = steps[place - 1] if place else None
        behind = steps[place + 1] if place + 1 < len(steps) else None
        around = sum(s[2] - s[1] for s in (before, behind) if s is not None and s[0] == "equal")
        if around < 3:
            continue
        weight = max((_swap(a, b, x, y, rarity) for x in range(i, j) for y in range(k, m)), default=0.0)
        if weight > 0:
            found.append((weight, " ".join(a.forms[i:j]), " ".join(b.forms[k:m])))
            best = max(best, weight)
    found.sort(key=lambda f: (-f[0], f[1], f[2]))
    parallel = min(1.0, max(0.0, (ratio - 0.3) / 0.35))
    # Whoever says the same in other words changes more than one word of a long text; one that was changed was meant.
    changed = [s for s in steps if s[0] != "equal"]
    if len(changed) == 1 and best > 0 and ratio >= 0.9:
        best = max(best, 0.85)
    return Disagreement(float(best * parallel), "long", tuple((x, y) for _, x, y in found[:8]))


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
    """The words that frame an answer's values ("the keeper of … is …"): frequent ones, no names, no numbers."""
    words_of = zip(a.words.stems, a.words.numeric, strict=True)
    return frozenset(w for w, n in words_of if not n and rarity.weight(w) < value and not rarity.is_name(w))


# ----------------------------------------------------------------------------------------------- may both be right?

# English requests that many answers meet: indefinite objects, invention, opinion.
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
    """How sure two different answers may both be right, in [0, 1], from wording and counts alone.

    Args:
        prompts: the two wordings.
        verbatim: whether they are the same text.
        answers: distinct answers that the dataset gives to exactly this text (the larger count of the two).
        kind: of the disagreement.
    """
    doubt = 1.0
    # Long answers count as disagreeing only where they run in parallel, which inventions never do.
    if kind != "long" and all(open_question(p) for p in prompts):
        doubt *= 0.1
    if kind == "list":
        doubt *= 0.4
    # Whoever gives three or more answers to one text does not mean one of them to be the only one.
    if verbatim and answers >= 3:
        doubt *= 2.0 / answers
    return 1.0 - doubt
