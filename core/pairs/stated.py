"""Do two rows state themselves that they ask two things?

By wording alone, "What is the boiling point of mercury?" and "What is the melting point of mercury?" look like one
question: they share the rare word and nearly all others. The answers tell them apart. Each repeats the word in which
its question differs.
"""

from __future__ import annotations

from difflib import SequenceMatcher

from core.pairs.wording import FUNCTION, Rarity, Words

# A word of at least this weight is what a question is about. Lighter words are its form.
ABOUT = 0.5
# How many words two prompts must share around the one place where they differ; the longest prompt that is compared.
AROUND, MOST_WORDS = 3, 80

Row = tuple[Words, Words]


def apart(a: Row, b: Row, rarity: Rarity) -> bool:
    """Whether the prompts and answers of two rows tell their questions apart.

    Args:
        a, b: the words of prompt and answer of each row.
        rarity: weights of words among the dataset's prompts.
    """
    return echoed(a, b) or one_place(a[0], b[0], rarity)


def echoed(a: Row, b: Row) -> bool:
    """Whether each answer repeats a word of its own question that the other question and the other answer lack.

    "The boiling point is ..." and "the melting point is ..." may both be true. Two answers to one question repeat the
    same words of it, unless each restates its own synonym.
    """
    a_prompt, b_prompt = (_content(row[0], 0, len(row[0])) for row in (a, b))
    a_answer, b_answer = set(a[1].stems), set(b[1].stems)
    a_repeats = (a_prompt - b_prompt) & a_answer - b_answer
    b_repeats = (b_prompt - a_prompt) & b_answer - a_answer
    return bool(a_repeats) and bool(b_repeats)


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


def other_name(a: Words, b: Words) -> bool:
    """Whether the prompts differ only by names that one of them lacks.

    "Who performed Rain?" and "Who performed Buckets of Rain?": a longer name is another name. In a language that writes
    all nouns like names, a rewording that adds a noun is missed.
    """
    a_stems, b_stems = set(a.stems), set(b.stems)
    extra = [
        named
        for x, others in ((a, b_stems), (b, a_stems))
        for form, stem, named in zip(x.forms, x.stems, x.named, strict=True)
        if stem not in others and form not in FUNCTION
    ]
    return bool(extra) and all(extra)


def _content(words: Words, start: int, stop: int) -> set[str]:
    """The stems from ``start`` to ``stop`` without function words."""
    pairs = zip(words.stems[start:stop], words.forms[start:stop], strict=True)
    return {stem for stem, form in pairs if form not in FUNCTION}
