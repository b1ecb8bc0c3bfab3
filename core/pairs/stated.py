"""Do two rows say themselves that they ask two things?

Wording alone takes "What is the boiling point of mercury?" and "What is the melting point of mercury?" for one: they
share the rare word and nearly all others. The answers do not: each repeats the word in which its question differs.
"""

from __future__ import annotations

from difflib import SequenceMatcher

from core.pairs.wording import FUNCTION, Rarity, Words

# Words from here on are what a question is about, below they are its form.
ABOUT = 0.5
# Words that two prompts must share around the one place in which they differ, and the longest prompt compared so.
AROUND, MOST_WORDS = 3, 80

Row = tuple[Words, Words]


def apart(a: Row, b: Row, rarity: Rarity) -> bool:
    """Whether prompt and answer of two rows tell their questions apart.

    Args:
        a, b: words of prompt and answer. rarity: of words in the dataset's prompts.
    """
    return echoed(a, b) or one_place(a[0], b[0], rarity)


def echoed(a: Row, b: Row) -> bool:
    """Each answer repeats a word of its own question that the other question and the other answer lack.

    "The boiling point is ..." and "the melting point is ..." may both be true; two answers to one question share what
    they repeat of it, unless each restates its own synonym.
    """
    mine, theirs = (_content(x[0], 0, len(x[0])) for x in (a, b))
    said, told = set(a[1].stems), set(b[1].stems)
    return bool((mine - theirs) & said - told) and bool((theirs - mine) & told - said)


def one_place(a: Words, b: Words, rarity: Rarity) -> bool:
    """The prompts are equal but for one place, in which each has a word that is rare in the dataset.

    A new wording of a question changes how it asks, in common words or in several places; this is one sentence about
    two things.
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
    """The prompts ask in the same words, and the only words in which they differ are names that one of them lacks.

    "Who performed Rain?" and "Who performed Buckets of Rain?": a longer name is another name. A language that writes
    all nouns like names loses rewordings that add one.
    """
    mine, theirs = set(a.stems), set(b.stems)
    extra = [
        named
        for x, others in ((a, theirs), (b, mine))
        for form, stem, named in zip(x.forms, x.stems, x.named, strict=True)
        if stem not in others and form not in FUNCTION
    ]
    return bool(extra) and all(extra)


def _content(words: Words, start: int, stop: int) -> set[str]:
    """Stems in the stretch that are no function words."""
    pairs = zip(words.stems[start:stop], words.forms[start:stop], strict=True)
    return {stem for stem, form in pairs if form not in FUNCTION}
