"""The words of a text, how rare each is in its dataset, and what two texts do not share.

Rarity carries over from one dataset to another: wordings of one question share their rare words, and questions about
two entities differ in one. The weight of a word is its inverse document frequency divided by that of a word seen once
(Spärck Jones 1972):

    w(t) = log((n + 1) / df(t)) / log(n + 1)

It lies in [0, 1] for a dataset of any size. Function words weigh a tenth of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from fractions import Fraction

import numpy as np

# Scripts without spaces between words. One character counts as one word.
_UNSPACED = "\u2e80-\u303f\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
# An operator before a number, a number with its sign and separators, a character of an unspaced script, a word.
_TOKEN = re.compile(
    rf"(?<=[\w)])\s?[-+*/^×÷<>=]{{1,2}}\s?(?=[\d(])|(?<![\w.])-?\d+(?:[.,:/]\d+)*(?![^\W{_UNSPACED}])|[{_UNSPACED}]"
    rf"|[^\W_{_UNSPACED}]+(?:['’][^\W\d_{_UNSPACED}]+)?"
)
_OPERATORS = frozenset("-+*/^×÷<>=")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SENTENCE_END = re.compile(r"[.!?:\n\"“(>]\s*$")
_NUMERALS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
_WORTH = {w: str(i) for i, w in enumerate(_NUMERALS.split())} | {w: str(i) for i, w in enumerate(_ORDINALS.split())}
# These are seldom meant as numbers.
for _word in ("one", "first", "second", "zero", "zeroth"):
    del _WORTH[_word]
_FUNCTION = (
    "a an the of to in on at by for from with about into over after before and or but if then than as is are was were "
    "be been being am do does did have has had will would shall should can could may might must i me my you your he "
    "him his she her it its we us our they them their this that these those there here what which who whom whose when "
    "where why how please tell just also so such any some one ones not no only very s d ll re ve m t o"
)
FUNCTION = frozenset(_FUNCTION.split())
_NEGATIONS = (
    "not no never none neither nor without cannot can't don't doesn't didn't isn't aren't wasn't weren't won't "
    "wouldn't shouldn't couldn't except nicht kein keine pas jamais"
)
NEGATIONS = frozenset(_NEGATIONS.split())
_SUFFIXES = ("ations", "ation", "ings", "ing", "ers", "er", "ors", "or", "ed", "es", "ly", "ion", "ions", "s", "e")


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one text in order.

    Attributes:
        forms: the words as they are compared: folded, numbers in one spelling ("1,000" and "1000.0" are "1000").
        stems: ``forms`` without English endings; numbers unchanged.
        named: whether the word is written like a name inside a sentence, or mixes letters and digits.
        numeric: whether it is a number, or an operator before one.
    """

    forms: tuple[str, ...]
    stems: tuple[str, ...]
    named: tuple[bool, ...]
    numeric: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.forms)


def number(text: str) -> str | None:
    """The number in one spelling that all equal numbers share; None if the text is not a number."""
    plain = text
    if re.fullmatch(r"-?\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        plain = plain.replace(",", "")
    if not _NUMBER.fullmatch(plain) or len(plain) > 60:
        return None
    value = Fraction(plain)
    return str(value.numerator) if value.denominator == 1 else str(value)


def stem(word: str) -> str:
    """The word without its English ending, if at least four letters remain."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4:
            return word[: -len(suffix)]
    return word


def words(text: str, most: int = 4000) -> Words:
    """The first ``most`` words of a text."""
    text = unicodedata.normalize("NFKC", text).replace("−", "-")
    forms: list[str] = []
    stems: list[str] = []
    named: list[bool] = []
    numeric: list[bool] = []
    end = 0
    for match in _TOKEN.finditer(text):
        raw = match.group().strip()
        begins = end == 0 or bool(_SENTENCE_END.search(text[max(0, match.start() - 4) : match.start()]))
        end = match.end()
        folded = raw.casefold().replace("’", "'")
        letters, digits = any(c.isalpha() for c in raw), any(c.isdigit() for c in raw)
        worth = number(raw) or _WORTH.get(folded) or (raw if raw[0] in _OPERATORS or (not letters and digits) else None)
        if folded.endswith("'s"):
            folded = folded[:-2]
        # A capital in the middle of a sentence marks a name. Where most words have one, none of them marks a name.
        name = (letters and digits) or (raw[:1].isupper() and not begins and folded not in FUNCTION)
        forms.append(worth or folded)
        stems.append(worth or stem(folded))
        named.append(name and worth is None)
        numeric.append(worth is not None)
        if len(forms) >= most:
            break
    if sum(named) > 0.7 * len(named) and len(named) > 4:
        named = [False] * len(named)
    return Words(tuple(forms), tuple(stems), tuple(named), tuple(numeric))


class Rarity:
    """The weight of each word, from how many of n texts hold it."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self._df: Counter[str] = Counter()
        self._names: set[str] = set()
        self._small: set[str] = set()
        self.n = 0
        for text in texts:
            self.n += 1
            self._df.update(set(text.stems))
            self._names.update(w for w, named in zip(text.stems, text.named, strict=True) if named)
            self._small.update(w for w, named in zip(text.stems, text.named, strict=True) if not named)
        # A handful of texts says little about rarity. Fewer than 50 are treated as if they were 50.
        self._top = float(np.log(max(self.n, 50) + 1))
        self._weights: dict[str, float] = {}

    def df(self, word: str) -> int:
        return self._df.get(word, 0)

    def is_name(self, word: str) -> bool:
        """Whether a text writes the word like a name. At the beginning of a sentence that cannot be seen."""
        return word in self._names

    def is_noun(self, word: str) -> bool:
        """Whether every text writes the word like a name though many have it: the noun of a language that does so."""
        return word in self._names and word not in self._small and self.weight(word) < 0.5

    def weight(self, word: str) -> float:
        """The weight in [0, 1]. A word that was never seen weighs as much as one seen once."""
        weight = self._weights.get(word)
        if weight is None:
            weight = (self._top - float(np.log(max(1, self._df.get(word, 0))))) / self._top
            weight = max(weight, 0.0) * (0.1 if word in FUNCTION else 1.0)
            self._weights[word] = weight
        return weight


@dataclass(frozen=True, slots=True)
class Difference:
    """What two texts share and what stands in only one of them, in weights of ``Rarity``.

    Attributes:
        overlap: shared weight over all weight (weighted Jaccard), in [0, 1].
        heaviest_shared: weight of the rarest shared word.
        swapped: of the rarest word on each side that the other side lacks, the lighter weight; high for a substitution.
        added: of the same two, the heavier weight.
        numbers: 1 if each side has a number that the other lacks, 0.25 if only one side has, 0 if neither has.
        names: the same for names.
        negated: whether only one side is negated.
        left, right: words that only this side has, rarest first, without function words.
        shared: words of both, rarest first, without function words.
    """

    overlap: float
    heaviest_shared: float
    swapped: float
    added: float
    numbers: float
    names: float
    negated: bool
    left: tuple[str, ...]
    right: tuple[str, ...]
    shared: tuple[str, ...]


def form(text: str, rarity: Rarity) -> str:
    """The text with each name replaced by "it": how it asks, no matter about what."""
    text = unicodedata.normalize("NFKC", text)
    out: list[str] = []
    last = 0
    for match in _TOKEN.finditer(text):
        folded = match.group().casefold().replace("’", "'").removesuffix("'s")
        if not rarity.is_name(stem(folded)):
            continue
        between = text[last : match.start()]
        # A name of several words becomes one "it".
        if not (out and out[-1] == "it" and not between.strip(" .-")):
            out += [between, "it"]
        last = match.end()
    return "".join([*out, text[last:]]) if out else text


def alike(a: str, b: str) -> bool:
    """Whether two words are spellings of one word (colour, color). Short words never are."""
    if min(len(a), len(b)) < 5 or abs(len(a) - len(b)) > 2 or a[0] != b[0]:
        return False
    return SequenceMatcher(None, a, b, autojunk=False).ratio() >= 0.9


def difference(a: Words, b: Words, rarity: Rarity) -> Difference:
    """What ``a`` and ``b`` share and what they do not."""
    a_numeric, b_numeric = (dict(zip(x.stems, x.numeric, strict=True)) for x in (a, b))
    shared = a_numeric.keys() & b_numeric.keys()
    # Names are not inflected: Kaeler and Kaelers are two names.
    if names := {w for w in shared if rarity.is_name(w)}:
        a_forms, b_forms = (
            {(w, f.removesuffix("s")) for w, f in zip(x.stems, x.forms, strict=True) if w in names} for x in (a, b)
        )
        shared = shared - {
            w for w in names if not {f for f in a_forms if f[0] == w} & {f for f in b_forms if f[0] == w}
        }
    left, right = a_numeric.keys() - shared, b_numeric.keys() - shared
    weight = rarity.weight
    both = sum(map(weight, shared))
    total = both + sum(map(weight, left)) + sum(map(weight, right))
    heavy_left = max(map(weight, left), default=0.0)
    heavy_right = max(map(weight, right), default=0.0)

    def sides(test: Callable[[str], bool]) -> float:
        return (0.0, 0.25, 1.0)[any(map(test, left)) + any(map(test, right))]

    def ordered(stems: Iterable[str]) -> tuple[str, ...]:
        content = [w for w in stems if w not in FUNCTION]
        return tuple(sorted(content, key=lambda w: (-weight(w), w)))

    return Difference(
        overlap=both / total if total > 0 else 1.0,
        heaviest_shared=max(map(weight, shared), default=0.0),
        swapped=min(heavy_left, heavy_right),
        added=max(heavy_left, heavy_right),
        numbers=sides(lambda w: a_numeric.get(w, False) or b_numeric.get(w, False)),
        names=sides(rarity.is_name),
        negated=bool(NEGATIONS & a_numeric.keys()) != bool(NEGATIONS & b_numeric.keys()),
        left=ordered(left),
        right=ordered(right),
        shared=ordered(shared),
    )


def trimmed(texts: Sequence[str], shared_by: int, least: int = 8) -> list[str]:
    """Each text without the long beginning and the long end that at least ``shared_by`` texts share.

    System prompts and boilerplate instructions would fill an encoder's window with words that say nothing. Beginnings
    and ends of fewer than ``least`` words stay. A text never loses its last word.

    Texts that share a beginning stand together when they are sorted by their words. So the longest beginning that text
    i shares with ``shared_by`` texts, itself included, is the longest one among the runs of that many texts around it.
    For each run it is the common beginning of its first and its last text.
    """
    pieces = [re.findall(r"\S+\s*", t) for t in texts]
    before = _shared_lengths(pieces, shared_by)
    behind = _shared_lengths([p[::-1] for p in pieces], shared_by)
    out = []
    for text, parts, head, tail in zip(texts, pieces, before, behind, strict=True):
        head, tail = (n if n >= least else 0 for n in (head, tail))
        if head >= len(parts):
            head = 0
        tail = min(tail, len(parts) - head)
        if tail >= len(parts) - head:
            tail = 0
        out.append("".join(parts[head : len(parts) - tail]).strip() or text)
    return out


def _shared_lengths(pieces: Sequence[Sequence[str]], shared_by: int) -> list[int]:
    """For each text, the number of words of the longest beginning that ``shared_by`` texts share, itself included."""
    n = len(pieces)
    out = [0] * n
    if shared_by < 2 or n < shared_by:
        return out
    order = sorted(range(n), key=lambda i: [w.strip() for w in pieces[i]])
    runs = [_common(pieces[order[i]], pieces[order[i + shared_by - 1]]) for i in range(n - shared_by + 1)]
    for place, index in enumerate(order):
        around = runs[max(0, place - shared_by + 1) : place + 1]
        out[index] = max(around, default=0)
    return out


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x.strip() != y.strip():
            return i
    return min(len(a), len(b))
