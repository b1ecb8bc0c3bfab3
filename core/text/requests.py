"""Which requests leave the answer open."""

from __future__ import annotations

import re

_MAKE = (
    r"write|compose|generate|create|invent|design|brainstorm|draft|imagine|construct|craft|come up with|think of|"
    r"make(?: up)?|give|provide|suggest|propose|recommend|name|list|tell me|find|state|share|mention|formulate|develop|"
    r"produce|build|describe|explain|discuss|rewrite|rephrase|paraphrase|summari[sz]e"
)
_SPACE = r"[^\S\n]+"
# Possessive, so that a long line costs one walk.
_LEAD = rf"^[^\w\n#/]{{0,4}}+(?:(?:please|now|(?:can|could|would) you(?:{_SPACE}please)?),?{_SPACE})?"
_THING = rf"{_SPACE}(?!(?:in|as|of|to|from|by|with|and|into)\b)[a-z-]+"
# "5 large rivers", but not "12 in Roman numerals".
_SOME = (
    r"an?|any|some|one|two|three|four|five|six|seven|eight|nine|ten|several|a few|"
    rf"\d{{1,2}}(?=(?:{_THING}){{0,2}}{_THING}(?<=s)\b)"
)
_OPEN = re.compile(
    # One of many: "Generate a sentence …", "Name five different types …", but not "Name the capital …".
    rf"{_LEAD}(?:{_MAKE})\b(?:{_SPACE}(?!(?:the|this|these|that|following|given)\b)\w+){{0,2}}?"
    rf"{_SPACE}(?:{_SOME})\b(?!{_SPACE}\w+{_SPACE}whose\b)"
    # In one's own words, whatever it is about.
    rf"|{_LEAD}(?:explain|describe|discuss|rewrite|rephrase|paraphrase|summari[sz]e){_SPACE}(?!\d)",
    re.IGNORECASE,
)


# A name or a formal language behind the first word of a sentence ("an entry for Fogleitus", "an SQL insert"): the
# answer is then about one thing, or has one form.
_NAMED = re.compile(r"(?<![.!?:;\"'“‘(])[^\S\n]+[\"'“‘(]?(?!I\b)[A-Z]\w")


def open_request(text: str) -> bool:
    """Whether the first or the last line of the text begins, in English, as a request that many answers would meet.

    A line that names something is none: many texts might do there as well, but what is asked for may be one fact.
    """
    lines = text.strip().split("\n")
    ends = (line.strip() for line in (lines[0], lines[-1]))
    return any(_OPEN.match(line) and not _NAMED.search(line) for line in ends)
