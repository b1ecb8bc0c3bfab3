"""Do two rows state themselves that they ask two things?

By wording alone, "What is the boiling point of mercury?" and "What is the melting point of mercury?" look like one
question: they share the rare word and nearly all others. The answers tell them apart. Each repeats the word in which
its question differs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from core.pairs.wording import FUNCTION, Rarity, Words, words

# A word of at least this weight is what a question is about. Lighter words are its form.
ABOUT = 0.5
# How many words two prompts must share around the one place where they differ; the longest prompt that is compared.
AROUND, MOST_WORDS = 3, 80

# Where more of more than four words have a capital, none of them marks a name.
MOST_CAPITALS = 0.7
# Small words inside a name.
JOINING = FUNCTION | {"de", "la", "le", "du", "des", "del", "di", "da", "von", "van", "der", "den", "&", "y", "et"}

Row = tuple[Words, Words]
_LETTER = re.compile(r"[^\W\d_]")
# A capital that names nothing.
_I = re.compile(r"I(?:['’]\w+)?\W*$")


def apart(a: Row, b: Row, rarity: Rarity) -> bool:
    """Whether the prompts and answers of two rows tell their questions apart.

    Args:
        a, b: the words of prompt and answer of each row.
        rarity: weights of words among the dataset's prompts.
    """
    return echoed(a, b) or one_place(a[0], b[0], rarity)


def echoed(a: Row, b: Row) -> bool:
    """Whether an answer repeats a word of its own question that the other question and the other answer lack.

    "The boiling point is ..." and "the melting point is ..." may both be true. Two answers to one question repeat the
    same words of it, unless each restates its own synonym. One such word is enough where both answers restate most of
    their question ("50 miles per hour are ...", "50 kilometers are ..."): the other one would have said it too.
    """
    a_prompt, b_prompt = (_content(row[0], 0, len(row[0])) for row in (a, b))
    a_answer, b_answer = set(a[1].stems), set(b[1].stems)
    a_repeats = (a_prompt - b_prompt) & a_answer - b_answer
    b_repeats = (b_prompt - a_prompt) & b_answer - a_answer
    if a_repeats and b_repeats:
        return True
    restated = [len(p & r) > len(p) / 2 for p, r in ((a_prompt, a_answer), (b_prompt, b_answer))]
    return all(restated) and bool(a_repeats or b_repeats)


def one_place(a: Words, b: Words, rarity: Rarity) -> bool:
    """Whether the prompts are equal but for one place, where each has a word that is rare in the dataset.

    A new wording of a question changes common words, or several places. One sentence with another rare word asks about
    another thing.
    """
    if max(len(a), len(b)) > MOST_WORDS:
        return False
    steps = SequenceMatcher(None, a.stems, b.stems, autojunk=False).get_opcodes()
    changed = [s for s in steps if s[0] != "equal"]
    if len(changed) != 1 or changed[0][0] != "replace":
        return False
    _, i, j, k, m = changed[0]
    if len(a) - (j - i) < AROUND:
        return False
    return all(any(rarity.weight(w) >= ABOUT for w in part) for part in (_content(a, i, j), _content(b, k, m)))


def other_name(a: str, b: str, rarity: Rarity) -> bool:
    """Whether one prompt names something that the other does not name in just these words.

    "Who performed Rain?" and "Who performed Buckets of Rain?", "Job" and "The Job", "Friends" and "Friends!": a longer
    name, an article or a mark more is another name. Words that many prompts have are no names, so that a language which
    writes every noun with a capital is not taken for a list of names.
    """
    return any(_missing(name, other) for text, other in ((a, b), (b, a)) for name in names(text, rarity))


def names(text: str, rarity: Rarity) -> list[str]:
    """The names inside the sentences of a text, folded: words with a capital, and small words between them."""
    lines = [line.split() for line in text.splitlines()]
    pieces = [p for line in lines for p in line]
    first = {0} | {sum(map(len, lines[:i])) for i in range(len(lines))}
    letters = [_LETTER.search(p) for p in pieces]
    capital = [c is not None and c[0].isupper() and not _I.match(p) for c, p in zip(letters, pieces, strict=True)]
    if sum(capital) > MOST_CAPITALS * len(pieces) and len(pieces) > 4:
        return []
    ends = ["", *(p.rstrip("\"'”’)")[-1:] for p in pieces)]
    begins = [i in first or ends[i] in ".!?;" or (ends[i] == ":" and not capital[i - 1]) for i in range(len(pieces))]
    own = [c and not b for c, b in zip(capital, begins, strict=True)]
    out, at = [], 0
    while at < len(pieces):
        if not own[at]:
            at += 1
            continue
        stop = at + 1
        while (reach := _reach(own, pieces, stop)) is not None:
            stop = reach
        start = at
        while start < stop and (not own[start] or _common(pieces[start], rarity)):
            start += 1
        at = stop
        while stop > start and (not own[stop - 1] or _common(pieces[stop - 1], rarity)):
            stop -= 1
        if start < stop:
            out.append(_folded(" ".join(pieces[start:stop]), text.rstrip().endswith(pieces[stop - 1])))
    return [name for name in out if name]


def _reach(own: Sequence[bool], pieces: Sequence[str], at: int) -> int | None:
    """Where a name goes on behind ``at``: at a capital, or behind at most two small words; None: nowhere."""
    if pieces[at - 1][-1:] in ",;.?":
        return None
    for small in range(min(3, len(pieces) - at)):
        if own[at + small]:
            return at + small + 1
        if pieces[at + small].casefold() not in JOINING:
            return None
    return None


def _common(piece: str, rarity: Rarity) -> bool:
    """Whether a piece is a noun of a language that writes all nouns with a capital."""
    read = words(piece)
    return bool(read.stems) and all(map(rarity.is_noun, read.stems))


def _folded(name: str, ends: bool) -> str:
    """The name without what surrounds it; a mark of its own ("Friends!") stays unless it ends the sentence."""
    name = _even(name).removesuffix("'s")
    return name.rstrip("?!.'") if ends and not name.endswith(("!?", "??")) else name.rstrip("?.")


def _missing(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", _even(text)) is None


def _even(text: str) -> str:
    """Folded, with spaces for brackets, commas and quotation marks."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return " ".join(re.sub(r"[()\[\]{},;:\"“”‘*]", " ", folded).split())


def _content(words: Words, start: int, stop: int) -> set[str]:
    """The stems from ``start`` to ``stop`` without function words."""
    pairs = zip(words.stems[start:stop], words.forms[start:stop], strict=True)
    return {stem for stem, form in pairs if form not in FUNCTION}
