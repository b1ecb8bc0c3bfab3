"""Words of a text. Four readers, because what must count as one word differs with what is compared.

==================  =======================================  ==================================================
reader              "Bob's 1,5 well-known 北京"               for
==================  =======================================  ==================================================
``answer_words``    bob's · 1,5 · well-known · 北京            whether two answers are the same text but for form
``question_words``  bob's · 1 · 5 · well-known · 北京          names and frames of short questions and answers
``pattern_words``   bob · s · 1,5 · well · known · 北 · 京      how often a word occurs in a dataset of any script
``letter_words``    bob · s · well · known · 北京              overlap of a path with its question; no numbers
==================  =======================================  ==================================================

``core/pairs/wording.py`` reads more than words: stems, names, and numbers in one spelling.
"""

from __future__ import annotations

import re
import unicodedata

# How many characters are read. What makes a pattern stands at the beginning, and rows may be books.
READ = 2_000
MARKS = "".join(chr(c) for c in range(0x300, 0x10000) if unicodedata.category(chr(c)) in ("Mn", "Mc"))
# Scripts without spaces, where a character counts as a word: Thai, Lao, Burmese, Khmer, kana, Han.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# Punctuation that ends or encloses words. Signs with a meaning ("C#", "-5", "50%", "a/b") stay.
EDGES = ".,;:!?…\"'`“”‘’«»()[]{}<>*_、。，！？；："
QUESTION_WORD = re.compile(r"\w+(?:['’\-]\w+)*")
_LETTER_WORD = re.compile(r"[^\W\d_]+")
_PATTERN_WORD = re.compile(
    rf"\d+(?:[.,:/\-–]\d+)*|[{UNSPACED}][{MARKS}]*|(?:(?![{UNSPACED}])[^\W\d_])(?:(?![{UNSPACED}])\w|[{MARKS}])*"
)


def answer_words(text: str) -> list[str]:
    """Words after NFKC and case folding, without enclosing punctuation, in their order."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [w for w in (part.strip(EDGES) for part in folded.split()) if w]


def normalised(text: str) -> str:
    """The answer's words joined by spaces. If there is only punctuation, the text without surrounding space."""
    return " ".join(answer_words(text)) or text.strip()


def question_words(text: str) -> list[str]:
    """Words and numbers in lower case. An apostrophe or hyphen joins two parts into one word."""
    return [w.lower() for w in QUESTION_WORD.findall(text)]


def pattern_words(text: str) -> list[str]:
    """Words, numbers and unspaced characters of the text's beginning, in lower case, quoted ones included."""
    return _PATTERN_WORD.findall(text[:READ].lower())


def letter_words(text: str) -> set[str]:
    """The different words made of letters alone, in lower case."""
    return set(_LETTER_WORD.findall(text.lower()))
