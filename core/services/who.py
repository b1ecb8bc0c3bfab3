"""Who is at work: the name that uploads, jobs and runs carry. Where nobody signs in it is empty."""

from __future__ import annotations

from collections.abc import Callable

_asked: list[Callable[[], str]] = []


def ask(source: Callable[[], str]) -> None:
    """Names who knows it: a function that gives the name of the person whose request this is, or an empty text."""
    _asked[:] = [source]


def name() -> str:
    """The person whose request is being answered; empty in a worker, on the command line, and without a login."""
    return _asked[0]() if _asked else ""
