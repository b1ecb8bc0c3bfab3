"""Whether two texts say the same in other words: plain rules on words, no model."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

ARTICLES = frozenset(("a", "an", "the"))
# Words that carry no answer of their own. Negations are left out on purpose: they do.
_FUNCTION = (
    "is are was were be been being am do does did has have had of in on at to for from by with as and or that this "
    "these those it its he she they his her their there here i you we your our my me him them will would can could "
    "which who whom whose what when where how why so such than then also just very"
)
FUNCTION = ARTICLES | frozenset(_FUNCTION.split())
NEGATION = frozenset(("not", "no", "never", "none", "neither", "nor", "without", "cannot", "false"))
# A lead-in that answers are wrapped in.
_LEAD = re.compile(r"^\s*(?:(?:final\s+)?answer|response|output)\s*(?:is|:|=)\s*|^\s*the answer is:?\s+", re.IGNORECASE)
# Punctuation inside numbers and signs ("1.5", "-5", "3/4") carries meaning, the rest does not.
_NOISE = re.compile(r"(?<!\d)[.,:;!?'\"`“”‘’…()\[\]{}*_]+|[.,:;!?'\"`“”‘’…()\[\]{}*_]+(?!\d)")


def plain(text: str) -> list[str]:
    """Words after NFKC and case folding, without punctuation, articles and a lead-in like "Answer:"."""
    text = unicodedata.normalize("NFKC", _LEAD.sub("", text)).casefold().replace("−", "-").replace("n't", " not")
    return [w for w in _NOISE.sub(" ", text).split() if w not in ARTICLES]


def same_but_form(output: str, target: str) -> bool:
    """The same words in the same order: case, punctuation, articles and a lead-in aside."""
    target_words, output_words = plain(target), plain(output)
    return bool(target_words) and target_words == output_words


def informative(text: str, prompt: str) -> Counter[str]:
    """Words of an answer that are neither function words nor taken from the question, with how often they occur."""
    prompt_words = frozenset(plain(prompt))
    return Counter(w for w in plain(text) if w not in FUNCTION and w not in prompt_words)


def same_meaning(output: str, target: str, prompt: str) -> bool:
    """Another wording of the same answer: what both say beyond the question is the same, or one says a little more.

    Additions may not be numbers or names, negations must agree, and something informative must be shared. Two answers
    with another value each (another name, number, colour) are never the same by this rule.
    """
    target_words, output_words = informative(target, prompt), informative(output, prompt)
    if not target_words or not output_words or _negated(target) != _negated(output):
        return False
    if target_words == output_words:
        return True
    if output_words < target_words:
        more, less, longer = target_words, output_words, target
    else:
        more, less, longer = output_words, target_words, output
    added = more - less
    # A word said twice is no other wording: it may stand where another one belongs.
    if not less < more or added.total() > less.total() // 2 or added.keys() & less.keys():
        return False
    names = {w.casefold() for w in re.findall(r"\w+", longer) if w[:1].isupper()}
    return not added.keys() & names and not any(any(c.isdigit() for c in w) for w in added)


def _negated(text: str) -> bool:
    return bool(NEGATION & set(plain(text)))
