"""Do two answers to one question disagree? May both be right all the same?

Most answers say the same thing in other words. So what counts is what an answer is *about*: the words that the question
does not hold, weighted by how rare they are among the dataset's answers. Words that frame an answer ("the river is the
…") occur with every value and weigh little. The value itself weighs much.

What two answers show becomes evidence in [0, 1]. One logistic rule weighs it together with how near both are in meaning
and what the prompts show:

    p = 1 / (1 + exp(-(intercept + sum of weight x evidence)))

Its parameters stand in ``answers.json``, with the command that fitted them. The direction of every piece is fixed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any, Literal

from core.pairs import quantities
from core.pairs.wording import FUNCTION, NEGATIONS, Rarity, Words, alike, words
from core.text.requests import open_request

Kind = Literal["same", "number", "choice", "list", "short", "long"]
# Evidence and the sign its weight may have: what the answers show, then what the prompts do.
EVIDENCE: Mapping[str, int] = {
    "value": 1,  # of two short answers: the rarest word exchanged against the rarest that both have
    "number": 1,  # each side has numbers, and the other has none of them
    "exchanged": 1,  # a name, number or rare word exchanged between long answers, times the share of equal words
    "alone": 1,  # and nothing else was changed
    "negated": 1,  # only one side is negated
    "sentence": -1,  # how long they are, of two short ones
    "brief": -1,  # a short answer beside a long one
    "long": -1,  # both are long
    "alike": -1,  # cosine of their embeddings
}
OPENNESS: Mapping[str, int] = {
    "open": -1,  # both prompts have words that ask for one of many answers, wherever they stand
    "request": -1,  # both begin or end with a line that many answers would meet (``core/text/requests.py``)
    "several": -1,  # the dataset gives three or more answers to one text
}
FILE = Path(__file__).with_name("answers.json")
# An answer of this many words or more is read as a text with parts, a shorter one as one statement.
LONG = 14
# Words that are aligned at most. The rest of a very long answer is not compared.
COMPARED = 600
# Log odds of what differs beyond doubt (options, yes against no): 95 %.
CERTAIN = 3.0

_ITEM = re.compile(r"^\s*(?:[-*•·–]|\(?\d{1,2}[.)]|\(?[a-z][.)])\s+(.+?)\s*$", re.MULTILINE)
_YES = {"yes": "yes", "true": "yes", "correct": "yes", "no": "no", "false": "no", "incorrect": "no"}
_CHOICE = re.compile(r"^\W*(?:(?:the\s+)?(?:answer|option)\s*(?:is)?\W*)?([A-H])(?:\W|$)")
# "The statement is true", "is **false**": a verdict that does not come first.
_VERDICT = re.compile(
    r"\b(?:statement|answer|sentence)s?\b[^.!?]{0,80}?\b(?:is|are)\W+(not\W+)?(true|false|in?correct)\b", re.I
)


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
    """How sure it is that two answers say different things, in [0, 1]; their kind; what differs (left, right).

    ``score``: the log odds before what the prompts show is added; None where no rule had to weigh anything.
    """

    sure: float
    kind: Kind
    differs: tuple[tuple[str, str], ...] = ()
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the words of two answers show: pieces by name (see ``EVIDENCE``), the kind, and what differs.

    ``sure``: how sure it is that they say different things where nothing has to be weighed; else None.
    """

    kind: Kind
    pieces: Mapping[str, float] = field(default_factory=dict)
    differs: tuple[tuple[str, str], ...] = ()
    sure: float | None = None


@cache
def parameters() -> Mapping[str, Any]:
    """The content of the file: intercept, weights, made_by, data."""
    content: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def read(text: str) -> Answer:
    """The answer as ``disagreement`` takes it."""
    tokens = words(text)
    choice = _CHOICE.match(text.strip())
    return Answer(
        text.strip(),
        tokens,
        _items(text),
        choice.group(1) if choice and (len(tokens) <= 1 or text.strip()[1:2] in ".):") else None,
        _verdict(text, tokens),
    )


def _verdict(text: str, tokens: Words) -> str | None:
    """Whether the answer begins with yes or no, or says of a statement that it is true or false."""
    if tokens.forms and (first := _YES.get(tokens.forms[0])):
        return first
    match = _VERDICT.search(text[:2000])
    if match is None:
        return None
    verdict = _YES[match[2].lower()]
    return {"yes": "no", "no": "yes"}[verdict] if match[1] else verdict


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


def evidence(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Evidence:
    """What the words of two answers show.

    Args:
        question: stems of the question's words, in either wording.
        rarity: weights of words among the dataset's answers.
    """
    return _certain(a, b) or _shown(a, b, question, rarity)


def disagreement(shown: Evidence, alike: float) -> Disagreement:
    """Whether two answers say different things.

    Args:
        alike: cosine of their embeddings, in [0, 1]; read only where something has to be weighed.
    """
    if shown.sure is not None:
        return Disagreement(shown.sure, shown.kind, shown.differs)
    score = weighed({**shown.pieces, "alike": alike})
    return Disagreement(_sigmoid(score), shown.kind, shown.differs, score)


def _certain(a: Answer, b: Answer) -> Evidence | None:
    """What needs no weighing: equal words, options, yes against no, an answer without words."""
    if a.words.forms == b.words.forms and (a.words.forms or a.text == b.text):
        return Evidence("same", sure=0.0)
    if not a.words.forms or not b.words.forms:
        differ = a.text != b.text
        return Evidence("short", {}, ((a.text[:80], b.text[:80]),) if differ else (), float(differ))
    if a.choice and b.choice:
        return Evidence("choice", {}, ((a.choice, b.choice),), float(a.choice != b.choice))
    if a.yes and b.yes and a.yes != b.yes:
        return Evidence("short", {}, ((a.yes, b.yes),), 1.0)
    return None


def _shown(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Evidence:
    """What has to be weighed; what says the same has nothing."""
    if a.items and b.items:
        return _lists(a.items, b.items)
    shorter, longer = sorted((len(a.words), len(b.words)))
    if shorter >= LONG:
        return _long(a, b, question, rarity)
    if longer >= LONG and longer >= 3 * shorter:
        return _mixed(a, b, question, rarity)
    return _short(a.words, b.words, a.text, b.text, question, rarity)


def weighed(pieces: Mapping[str, float], fitted: Mapping[str, Any] | None = None) -> float:
    """Log odds of the evidence."""
    fitted = fitted or parameters()
    return float(fitted["intercept"] + sum(fitted["weights"][name] * value for name, value in pieces.items()))


def _sigmoid(score: float) -> float:
    from scipy.special import expit

    return float(expit(score))


def _numbers(a: str, b: str, question: frozenset[str], loose: bool) -> tuple[dict[str, float], tuple[str, str] | None]:
    """Whether the numbers of two texts clash, read as they stand and in one unit; which ones.

    Args:
        loose: only the last number counts, where a text ends with one.
    """
    out: dict[str, float] = {}
    shown = None
    for measures in (False, True):
        sides = [quantities.numbers(t, measures) for t in (a, b)]
        own = [{n for n in s if n not in question} for s in sides]
        if loose:
            last = [quantities.last_number(t) for t in (a, b)]
            own = [{n} if n in s else set() for n, s in zip(last, own, strict=True)]
        if not own[0] or not own[1]:
            return {}, None
        left, _ = quantities.apart(own[0], sides[1])
        right = quantities.apart(sides[0], own[1])[1]
        if not left or not right:
            return {"equal": 1.0} if not left and not right else {}, None
        clash = left == own[0] and right == own[1]
        if not clash:
            return {}, None
        out, shown = {"number": 1.0}, shown or (min(left), min(right))
    return out, shown


def _lists(a: frozenset[str], b: frozenset[str]) -> Evidence:
    """A list that holds the other agrees with it. Of all others only their meaning is weighed."""
    left, right = sorted(a - b), sorted(b - a)
    return Evidence("list", {}, tuple(zip(left, right, strict=False)), None if left and right else 0.0)


def _short(
    a: Words, b: Words, a_text: str, b_text: str, question: frozenset[str], rarity: Rarity, loose: bool = False
) -> Evidence:
    """Weighs the rarest word that only one side has against the rarest word that both have.

    Where one side adds nothing but function words to what both have, they agree.
    """
    clash, shown = _numbers(a_text, b_text, question, False)
    left, right = ({w for w in x.stems if w not in question} for x in (a, b))
    if not (left - FUNCTION) or not (right - FUNCTION):
        # One side repeats only the question's words ("Which of A and B?"). Then the answers are compared whole.
        left, right = set(a.stems), set(b.stems)
    shared = left & right
    left, right = left - shared, right - shared
    for word in sorted(left):
        twin = next((w for w in sorted(right) if alike(word, w)), None)
        if twin is not None and not word[-1:].isdigit():
            left.discard(word)
            right.discard(twin)
            shared.add(word)
    if _initials(left, b) or _initials(right, a):
        return Evidence("short", sure=0.0)
    only_one_negated = bool(NEGATIONS & set(a.forms)) != bool(NEGATIONS & set(b.forms))
    weight = rarity.weight
    top = [max(left, key=lambda w: (weight(w), w), default=""), max(right, key=lambda w: (weight(w), w), default="")]
    differs = ((_written(a, top[0]), _written(b, top[1])),)
    if shown is not None:
        return Evidence("number", clash, (shown,))
    if clash and not only_one_negated:
        return Evidence("number", sure=0.0)
    pieces = {"negated": 1.0} if only_one_negated else {}
    if left - FUNCTION and right - FUNCTION:
        apart = min(weight(top[0]), weight(top[1]))
        common = max(map(weight, shared), default=0.0)
        pieces["value"] = apart / (apart + common) if apart + common > 0 else 1.0
    elif not shared:
        pieces["value"] = 1.0
    if not pieces:
        return Evidence("short", sure=0.0)
    pieces["sentence"] = min(1.0, max(len(a), len(b)) / LONG)
    return Evidence("short", pieces, differs)


def _initials(short: set[str], long: Words) -> bool:
    """Whether a side has nothing but the initials of words of the other ("USA")."""
    if len(short) != 1 or not 2 <= len(word := next(iter(short))) <= 6 or not word.isalpha():
        return False
    letters = "".join(f[0] for f in long.forms if f not in FUNCTION)
    return word in letters or word in "".join(f[0] for f in long.forms)


def _mixed(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Evidence:
    """Compares a short answer with the sentence of a long one that shares most of its rare words."""
    short, long = (a, b) if len(a.words) < len(b.words) else (b, a)
    content = set(short.words.stems) - FUNCTION
    said = content - question
    sentences = [t for t in re.split(r"(?<=[.!?])\s+|\n+", long.text) if t.strip()]
    nearest = max(
        enumerate(sentences),
        key=lambda s: (sum(rarity.weight(w) for w in content & set(words(s[1]).stems)), -s[0]),
        default=(0, long.text),
    )[1]
    clash, shown = _numbers(short.text, long.text, question, False)
    if "equal" in clash or (said and said <= set(long.words.stems)):
        return Evidence("short", sure=0.0)
    seen = _short(short.words, words(nearest), "", "", question, rarity)
    # A long text denies something somewhere.
    kept = {k: v for k, v in seen.pieces.items() if k == "value"}
    pieces = {**kept, **({"number": 1.0} if clash.get("number") else {}), "brief": 1.0}
    differs = (shown,) if shown is not None else seen.differs
    kind: Kind = "number" if shown is not None else "short"
    return Evidence(kind, pieces, differs if short is a else tuple((y, x) for x, y in differs))


def _written(text: Words, stem: str) -> str:
    """The word as the text writes it."""
    return text.forms[text.stems.index(stem)] if stem in text.stems else stem


def _long(a: Answer, b: Answer, question: frozenset[str], rarity: Rarity) -> Evidence:
    """Looks for exchanged names, numbers and rare words inside passages that otherwise run in parallel."""
    left, right = a.words.stems[:COMPARED], b.words.stems[:COMPARED]
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    clash, shown = _numbers(a.text, b.text, question, True)
    steps = matcher.get_opcodes()
    swaps = []
    for place, (kind, i, j, k, m) in enumerate(steps):
        if kind != "replace" or j - i > 6 or m - k > 6:
            continue
        # A swap counts if at least three shared words stand around it.
        before = steps[place - 1] if place else None
        behind = steps[place + 1] if place + 1 < len(steps) else None
        around = sum(s[2] - s[1] for s in (before, behind) if s is not None and s[0] == "equal")
        if around < 3:
            continue
        weight = max((_swap(a.words, b.words, x, y, rarity) for x in range(i, j) for y in range(k, m)), default=0.0)
        if weight > 0:
            swaps.append((weight, " ".join(a.words.forms[i:j]), " ".join(b.words.forms[k:m])))
    swaps.sort(key=lambda s: (-s[0], s[1], s[2]))
    changed = [s for s in steps if s[0] != "equal"]
    pieces = {
        "exchanged": swaps[0][0] * matcher.ratio() if swaps else 0.0,
        "alone": float(len(changed) == 1 and bool(swaps)),
        "long": 1.0,
    }
    if clash.get("number"):
        pieces["number"] = 1.0
    differs = ((shown,) if shown is not None else ()) + tuple((x, y) for _, x, y in swaps[:8])
    return Evidence("long", pieces, differs)


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
    r"describe|explain|discuss|craft|construct|edit|adapt|reword|replace|improve|make up|fill|add|combine|formulate)\b"
    r"|\b(?:synonym|antonym|opposite|rhyme)s?\b"
    r"|\bwhat(?:\s+is|'s|\s+are|\s+would\s+be)\s+(?:an?|one|some|another)\b|\bone of the\b|\bfor example\b|\bsuch as\b"
    r"|\b(?:an|one|another) example\b|\bexamples of\b|\b(?:could|might)\b|\bwhat can\b|\bcan you think\b|\bany of\b"
    r"|\bwhich\s+(?:\w+\s+)?(?:can|may)\b|\bone of\b|\bone (?:\w+ )?(?:that|which|who|from|in)\b|\ba possible\b",
    re.IGNORECASE,
)


def open_question(text: str) -> bool:
    """Whether the wording has, in English, words that ask for one of many answers ("Name a …", "Write …").

    ``open_request`` asks for more and is right more often. Both are weighed: with one list of verbs in place of two,
    contradictions among left-out pairs are found less often (66 % for 74 %) and no more precisely.
    """
    return _OPEN.search(text) is not None


def openness(prompts: Sequence[str], verbatim: bool, answers: int, kind: Kind) -> dict[str, float]:
    """What the prompts show of whether two different answers may both be right (see ``OPENNESS``).

    Args:
        prompts: the two wordings.
        verbatim: whether they are the same text.
        answers: distinct answers that the dataset gives to exactly this text (the larger count of the two).
        kind: the kind of the disagreement.
    """
    return {
        "open": float(all(open_question(p) for p in prompts)),
        "request": float(all(open_request(p) for p in prompts)),
        # A dataset that gives three or more answers to one text does not mean any of them to be the only one.
        "several": 1.0 - 2.0 / answers if verbatim and answers >= 3 else 0.0,
    }


def both_valid(prompts: Sequence[str], verbatim: bool, answers: int, found: Disagreement) -> float:
    """How sure it is that two different answers may both be right, in [0, 1]: what ``openness`` takes off.

    Arguments as in ``openness``; ``found``: how the answers differ.
    """
    shown = openness(prompts, verbatim, answers, found.kind)
    weights = parameters()["weights"]
    off = sum(weights[name] * value for name, value in shown.items())
    if found.sure <= 0.0 or off == 0.0:
        return 0.0
    # Where nothing had to be weighed, the answers differ beyond doubt.
    score = found.score if found.score is not None else CERTAIN
    return 1.0 - _sigmoid(score + off) / _sigmoid(score)
