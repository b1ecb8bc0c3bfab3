"""What a group of samples is called: the frame that its prompts share and the kind of its answers, in plain words.

``What is the hue of Kufin?`` and ``What is the hue of Drathin?`` have one frame, ``What is the hue of …?``. A word
belongs to the frame if enough prompts of the group have it. Where the prompts share no frame, one of them stands for
all. Text is quoted as the rows have it. No language is assumed for prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.text.words import READ

# A word in this share of a group's prompts, and in two at least, is wording; any other is filled in row by row.
WORDING = 0.2
# A frame names the group if this share of the prompts has it, and stands beside the first one if that share has it.
NAMES, BESIDE = 0.35, 0.2
# Answers of one kind are named if so many are.
KIND = 0.6
# Words of a prompt that are read, characters of a frame or prompt that are shown, words that a frame must keep.
_READ, _SHOWN, _KEPT = 40, 70, 2
_GAP = "…"

_TOKEN = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
_NUMBER = re.compile(r"[^\w\s]?-?\d[\d.,:/ ]*\s?[%\w°€$£]{0,3}\.?")
_KINDS = (
    ("yes or no", re.compile(r"(yes|no|true|false)[.!]?", re.I)),
    ("a letter", re.compile(r"\(?[A-Za-z][.)]?")),
    ("a number", _NUMBER),
    ("code", re.compile(r".*(```|^(def|class|import|function|SELECT)\b).*", re.S | re.M)),
    ("JSON", re.compile(r"[\[{].*[\]}]", re.S)),
    ("a list", re.compile(r".*^\s*([-*•]|\d+[.)])\s.*\n\s*([-*•]|\d+[.)])\s.*", re.S | re.M)),
    ("one word", re.compile(r"\S+")),
    ("a few words", re.compile(r"\S+(\s\S+){1,2}")),
)


def title_of(prompts: Sequence[str], answers: Sequence[str]) -> str:
    """A title in one line for samples with these prompts and answers; empty where every text is."""
    asked = _asked([p[:READ].strip() or a[:READ].strip() for p, a in zip(prompts, answers, strict=True)])
    kind = _kind([a[:READ].strip() for a in answers])
    return f"{asked}, answered with {kind}" if asked and kind and any(p.strip() for p in prompts) else asked


def _asked(prompts: Sequence[str]) -> str:
    found = [[*_TOKEN.finditer(p)][:_READ] for p in prompts]
    counts = Counter(word for tokens in found for word in {t[0].lower() for t in tokens})
    least = max(2, WORDING * len(prompts))
    frames = Counter(
        frame for p, tokens in zip(prompts, found, strict=True) if (frame := _frame(p, tokens, counts, least))
    )
    common = [frame for frame, n in frames.most_common(2) if n >= BESIDE * len(prompts)]
    if common and frames[common[0]] >= NAMES * len(prompts):
        return " and ".join(f"“{frame}”" for frame in common)
    # One prompt for all: the one whose words the others have most, a short one of those.
    typical = max(prompts, key=lambda p: (_shared(p, counts), -len(p)), default="")
    return f"Like “{_clipped(typical)}”" if typical else ""


def _frame(prompt: str, tokens: Sequence[re.Match[str]], counts: Counter[str], least: float) -> str:
    """The prompt with gaps where its own words are; empty if too little is left."""
    out, kept, end = "", 0, 0
    for token in tokens:
        space = " " if token.start() > end and out else ""
        word = token[0]
        if counts[word.lower()] >= least:
            out += space + word
            kept += word[0].isalnum()
        elif not out.endswith(_GAP):
            out += space + _GAP
        end = token.end()
    return _clipped(out).replace(f"{_GAP}.", _GAP) if kept >= _KEPT else ""


def _shared(prompt: str, counts: Counter[str]) -> float:
    words = {t[0].lower() for t in _TOKEN.finditer(prompt)}
    return sum(counts[w] for w in words) / len(words) if words else 0.0


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[:_SHOWN].rsplit(" ", 1)[0].rstrip(" ,;:") + f" {_GAP}"


def _kind(answers: Sequence[str]) -> str:
    """The kind that most answers have; empty where they differ or are long."""
    kinds = Counter(next((name for name, form in _KINDS if form.fullmatch(a)), "") for a in answers if a)
    (name, n), *_ = kinds.most_common(1) or [("", 0)]
    return name if n and n >= KIND * len(answers) else ""
