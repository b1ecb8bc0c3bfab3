"""Text on its way into a column: what every database can hold, and the form in which it is searched."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with NUL and lone surrogates written as ``\\x00`` and ``\\ud800``; any other text as it is.

    JSON may carry both, UTF-8 cannot carry the second and PostgreSQL not the first. The written form is kept apart
    for apart texts, so that ids stay unique.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


def folded(text: str) -> str:
    """The form in which text is searched: letter case removed for every script, not for ASCII alone."""
    return storable(text).casefold()
