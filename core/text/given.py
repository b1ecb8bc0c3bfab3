"""Does a prompt hold what an answer takes? Word by word, by what people do with letters and numbers.

A word is given where the prompt says it, where its letters come out of one word of the prompt (spelled backwards,
without vowels, letter by letter) or out of the words' initials, and where it is a number that the prompt's numbers can
give. A name, a year or a word of which the prompt holds nothing has to come from elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from core.text.words import READ

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+")
# Letters of a shorter word are found in some word of any prompt.
SHORTEST = 3
# A result needs two numbers to be reckoned from.
OPERANDS = 2


def parts(text: str) -> list[str]:
    """Words and numbers of the text's beginning, NFKC and case folded."""
    return _WORD.findall(unicodedata.normalize("NFKC", text[:READ]).casefold())


def missed(target: str, output: str) -> list[str]:
    """Words and numbers of the target that the output does not have in their place, in order."""
    wanted, given = parts(target), parts(output)
    steps = SequenceMatcher(None, wanted, given, autojunk=False).get_opcodes()
    return [w for kind, i, j, _, _ in steps if kind != "equal" for w in wanted[i:j]]


def given(words: Sequence[str], prompt: str) -> list[bool]:
    """Whether the prompt holds what each of the words takes."""
    around = parts(prompt)
    said = frozenset(around)
    letters = [Counter(w) for w in said if len(w) >= SHORTEST and not w[0].isdigit()]
    digits = [w for w in around if w[0].isdigit()]
    initials = "".join(w[0] for w in around)
    out = []
    for word in words:
        if word in said:
            out.append(True)
        elif word[0].isdigit():
            bare = word.lstrip("0")
            out.append(len(digits) >= OPERANDS or any(bare and bare in d for d in digits))
        elif len(word) < SHORTEST:
            # One letter of a spelled word; two letters alone say nothing.
            out.append(len(word) == 1)
        else:
            own = Counter(word)
            out.append(word in initials or any(own <= other for other in letters))
    return out
