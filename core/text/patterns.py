"""The shape of a text: what is left when the words that only this row has are masked.

``Where was Zorblat born?`` and ``Where was Quim born?`` have one pattern, ``where was _ born ?``. Numbers are masked as
``#``, quoted strings as ``"``. Words that few rows have are masked, and so are words in a slot: a place between two
neighbours that many different words fill. A run of masked words becomes one mark, so that the length of a name does not
matter. A long run becomes another mark, because it is no name. A text that is too long to compare word by word is
described by how it begins, how it is laid out, and roughly how long it is. Otherwise it would be a pattern of its own.

No language is assumed. Scripts without spaces are read character by character. A character is common if it stands in a
pair that many rows have.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from core.text.words import MARKS, READ, UNSPACED

WORD, NUMBER, QUOTE = "_", "#", '"'
# A text of up to this many units is compared word by word; a longer one is shown by so many units.
SHORT, HEAD = 40, 8
# The longest word. A longer one is data, and to keep it would be to keep the data.
LONGEST = 40
# A place is a slot if it has this many different fillers. A filler with more than this share of it is wording.
FILLERS, FREQUENT = 3, 0.2
# The share of the long texts that must share a beginning for it to count as wording.
SHARED = 0.005

_UNIT = re.compile(
    r'(?P<quote>"[^"\n]{1,80}"|“[^”\n]{1,80}”|„[^“\n]{1,80}“|«[^»\n]{1,80}»|「[^」\n]{1,80}」|`[^`\n]{1,80}`)'
    r"|(?P<number>\d+(?:[.,:/\-–]\d+)*)"
    rf"|(?P<char>[{UNSPACED}][{MARKS}]*)"
    rf"|(?P<word>(?:(?![{UNSPACED}])[^\W\d_])(?:(?![{UNSPACED}])\w|[{MARKS}]|['’\-](?=\w))*)"
    r"|(?P<line>\n+)"
    r"|(?P<sign>[^\w\s]|_)"
)
_FORMS = (
    ("code", re.compile(r"```|^(?:def|class|import|#include|public|function) ", re.M)),
    ("json", re.compile(r"\A\s*[\[{].*[\]}]\s*\Z", re.S)),
    ("numbered", re.compile(r"^\s*\d+[.)] .*\n+\s*\d+[.)] ", re.M)),
    ("list", re.compile(r"^\s*[-*•] .*\n+\s*[-*•] ", re.M)),
    ("table", re.compile(r"^\|.*\|.*\n\|", re.M)),
    ("reasoning", re.compile(r"<think>|<\|?reasoning")),
    ("paragraphs", re.compile(r"\S\n\s*\n\S")),
)

# (kind, text): q quote, n number, c character of a script without spaces, w word, l line break, s sign.
Unit = tuple[str, str]


def units_of(text: str, most: int | None = None) -> list[Unit]:
    """The first ``most`` units of the text, words in lower case. A word that is too long to keep has empty text."""
    out: list[Unit] = []
    for match in islice(_UNIT.finditer(text[:READ]), most):
        kind, unit = match.lastgroup or "", match[0]
        out.append((kind[0], "" if len(unit) > LONGEST else unit.lower()))
    return out


@dataclass(frozen=True, slots=True)
class Pattern:
    """The shape of one text.

    Attributes:
        units: masked units; all of a short text, the first few of a long one.
        form: the layout of a long text (``list``, ``code``, ...); empty for running text.
        size: 0 for a short text, else log2 of its characters.
    """

    units: tuple[str, ...]
    form: tuple[str, ...] = ()
    size: int = 0

    @property
    def text(self) -> str:
        """The pattern as people read it."""
        units = " ".join("⏎" if u == "\n" else u for u in self.units)
        if not self.size:
            return units
        return f"{units} … ({', '.join((*self.form, f'about {2**self.size:,} characters'))})"


def same_type(one: Pattern, other: Pattern) -> bool:
    """Whether two texts are of one kind: the same pattern, or for long texts the same layout and a similar size."""
    if one.size and other.size:
        return one.form == other.form and abs(one.size - other.size) <= 1
    return one == other


class Patterns:
    """What counts as wording in a dataset. It is learned from the rows and does not depend on their order.

    Args:
        pairs: prompt and answer of each row, without exact duplicates.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._rows_with: Counter[str] = Counter()
        for pair in pairs:
            words: set[str] = set()
            for text in pair:
                words.update(_countable(units_of(text)))
            self._rows_with.update(words)
        # In a large dataset a word of a few rows is still a name. The limit grows slowly, so that a template used in
        # one row of a thousand counts as wording.
        self.rare = max(2, math.isqrt(len(pairs)) // 8)
        self._contexts = tuple(_Contexts(self._masked(pair[side]) for pair in pairs) for side in (0, 1))
        self._heads = tuple(Counter[tuple[str, ...]]() for _ in (0, 1))
        for pair in pairs:
            for side in (0, 1):
                if _is_long(pair[side]):
                    self._heads[side].update([(), *_beginnings(self._head(pair[side]))])

    def prompt(self, text: str) -> Pattern:
        return self._pattern(text, 0)

    def answer(self, text: str) -> Pattern:
        return self._pattern(text, 1)

    def is_rare(self, word: str) -> bool:
        """Whether few rows have this word (as ``pattern_words`` gives it)."""
        return self._rows_with[word] <= self.rare

    def _masked(self, text: str) -> tuple[str, ...]:
        """The units with numbers, quotes and rare words masked; empty for a text too long to compare word by word."""
        return () if _is_long(text) else self._mask(units_of(text))

    def _head(self, text: str) -> tuple[str, ...]:
        return self._mask(units_of(text, HEAD))

    def _mask(self, units: Sequence[Unit]) -> tuple[str, ...]:
        marks: list[str] = []
        for i, (kind, unit) in enumerate(units):
            if kind in "qn":
                marks.append(QUOTE if kind == "q" else NUMBER)
            elif kind in "wc":
                marks.append(unit if self._is_common(units, i) else WORD)
            else:
                marks.append("\n" if kind == "l" else unit)
        return _merged(marks)

    def _is_common(self, units: Sequence[Unit], i: int) -> bool:
        kind, unit = units[i]
        if not unit or self._rows_with[unit] <= self.rare:
            return False
        if kind == "w":
            return True
        pairs = [units[j][1] + units[j + 1][1] for j in (i - 1, i) if 0 <= j < len(units) - 1 and _joined(units, j)]
        return not pairs or any(self._rows_with[p] > self.rare for p in pairs)

    def _pattern(self, text: str, side: int) -> Pattern:
        if not _is_long(text):
            return Pattern(self._contexts[side].opened(self._mask(units_of(text))))
        form = tuple(name for name, look in _FORMS if look.search(text[: 10 * READ]))
        # A beginning that many texts share is wording. One that few share would make each text a pattern of its own.
        heads = self._heads[side]
        shared = (b for b in _beginnings(self._head(text)) if heads[b] >= max(FILLERS, SHARED * heads[()]))
        return Pattern(next(shared, ()), form, max(1, round(math.log2(len(text)))))


def _is_long(text: str) -> bool:
    return len(text) > READ or len(units_of(text, SHORT + 1)) > SHORT


def _beginnings(head: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The head and its beginnings, the longest first."""
    return [head[:n] for n in range(len(head), 0, -1)]


class _Contexts:
    """Which words stand between which neighbours, over the masked texts of one side."""

    def __init__(self, texts: Iterable[tuple[str, ...]]) -> None:
        self._words: Counter[tuple[str, str, str]] = Counter()
        for text in texts:
            self._words.update(t for t in _triples(text) if t[1][:1].isalpha())
        self._rows: Counter[tuple[str, str]] = Counter()
        self._fillers: Counter[tuple[str, str]] = Counter()
        for (before, _, behind), n in self._words.items():
            self._rows[before, behind] += n
            self._fillers[before, behind] += 1

    def opened(self, text: tuple[str, ...]) -> tuple[str, ...]:
        """The text with the words in its slots masked."""
        return _merged([WORD if self._is_slot(t) else t[1] for t in _triples(text)])

    def _is_slot(self, triple: tuple[str, str, str]) -> bool:
        before, word, behind = triple
        own, place = self._words[triple], (before, behind)
        # A word that no row has in this place is one more filler.
        fillers = self._fillers[place] + (own == 0)
        return word[:1].isalpha() and fillers >= FILLERS and own <= max(2, FREQUENT * self._rows[place])


def _triples(text: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    return zip(("", *text[:-1]), text, (*text[1:], ""), strict=True) if text else iter(())


def _countable(units: Sequence[Unit]) -> Iterator[str]:
    """What is counted by row: words, characters of unspaced scripts, and pairs of these."""
    for i, (kind, unit) in enumerate(units):
        if kind in "wc" and unit:
            yield unit
            if i + 1 < len(units) and _joined(units, i):
                yield unit + units[i + 1][1]


def _joined(units: Sequence[Unit], i: int) -> bool:
    return units[i][0] == "c" and units[i + 1][0] == "c"


def _merged(marks: Iterable[str]) -> tuple[str, ...]:
    """Joins runs of one mark. A run of four masked words or more carries its length, rounded down to a power of two."""
    out: list[str] = []
    run = 0
    for mark in (*marks, ""):
        if mark == WORD:
            run += 1
            continue
        if run:
            out.append(WORD if run < 4 else f"{WORD}{2 ** int(math.log2(run))}")
            run = 0
        if mark and not (out and out[-1] == mark and mark in (NUMBER, QUOTE, "\n")):
            out.append(mark)
    return tuple(out)
