"""The one place that shows what went wrong: on a page, in a fragment, in a callback."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from core.errors import UserError
from core.services.environment import hindrance
from ui import markup

log = logging.getLogger("lacuna.web")


def show(error: Exception) -> bool:
    """Draw ``error`` where the script stands.

    A ``UserError`` is shown as what happened, why, and what to do next. Anything else is a bug: its traceback goes to
    the log under a short id, the page shows the id.

    Returns:
        True: nothing else needs to show it (the answer Streamlit's ``on_script_error`` asks for).
    """
    if isinstance(error, UserError) and hindrance(error) is None:
        message(error.what, error.why, error.todo)
        return True
    if (reason := hindrance(error)) is not None:
        log.warning("page not drawn: %s", reason)
        message(*stopped_by(reason))
        return True
    code = secrets.token_hex(4)
    log.error("page failed, id %s", code, exc_info=error)
    message(
        "Something went wrong in Lacuna itself.",
        f"This is a bug, not your data. Its traceback is in the server's log under the id {code}.",
        "Reload the page. Runs and uploads are kept.",
    )
    return True


def stopped_by(reason: str) -> tuple[str, str, str]:
    """What happened, why and what to do where the machine is at fault."""
    return (
        f"Lacuna cannot go on here: {reason}.",
        "This is a state of the machine and no fault of your data. Jobs wait and go on by themselves when they can.",
        "Where the disk is full, delete something on the page Storage. Then reload this page.",
    )


def message(what: str, why: str = "", todo: str = "") -> None:
    """One error as the person reads it; all three parts may quote data and are escaped."""
    st.error(
        "\n\n".join(part for part in (f"**{markup.md(what)}**", markup.md(why), markup.md(todo)) if part.strip("*")),
        icon=":material/error:",
    )


@contextmanager
def shown() -> Iterator[None]:
    """Draws what a person or the machine can put right where it stands, and the page goes on behind it."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, UserError) and hindrance(error) is None:
            raise
        show(error)
