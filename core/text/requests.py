"""Which requests leave the answer open."""

from __future__ import annotations

import re

_MAKE = (
    r"write|compose|generate|create|invent|design|brainstorm|draft|imagine|construct|craft|come up with|think of|"
    r"make(?: up)?|give|provide|suggest|propose|recommend|name|list|tell me|find|state|share|mention|formulate|develop|"
    r"produce|build|describe|explain|discuss|rewrite|rephrase|paraphrase|summari[sz]e"
)
_OPEN = re.compile(
    # One of many: "Generate a sentence …", "Name five different types …", but not "Name the capital …".
    rf"^\W*(?:(?:please|can you|could you|now)\s+)?(?:{_MAKE})\b"
    r"(?:\s+(?!(?:the|this|these|that|following|given)\b)\w+){0,2}?"
    r"\s+(?:an?|any|some|one|two|three|four|five|six|seven|eight|nine|ten|\d+|several|a few)\b"
    # In one's own words, whatever it is about.
    r"|^\W*(?:explain|describe|discuss|rewrite|rephrase|paraphrase|summari[sz]e)\b",
    re.IGNORECASE | re.MULTILINE,
)


def open_request(text: str) -> bool:
    """Whether a line of the text begins, in English, as a request that many answers would meet."""
    return _OPEN.search(text) is not None
