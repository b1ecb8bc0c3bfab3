"""The one upload widget, for datasets and checkpoint archives.

A file goes from the browser straight to disk through ``/api/uploads``; Python is told the ids of finished uploads. So
nothing is held in the web process, whatever the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.settings import settings
from ui import markup, state
from ui.routes import address

_HERE = Path(__file__).resolve().parent
_widget = st.components.v2.component(
    "lacuna.uploader",
    html='<div class="uploader"></div>',
    css=(_HERE / "uploader.css").read_text(),
    js=(_HERE / "uploader.js").read_text(),
)


def uploader(label: str, hint: str, key: str, accept: Sequence[str], multiple: bool = False) -> list[dict[str, Any]]:
    """Draw the widget.

    Args:
        label: what to choose; read out as the control's name.
        hint: one line below it.
        key: the widget's key.
        accept: file endings the browser's dialog offers; what a file is, is found by reading it.
        multiple: whether several files may be chosen at once.

    Returns:
        The uploads that have just finished, ``{id, name, size}`` each, in the order chosen; empty otherwise. Each is
        returned in one script run only.
    """
    result = _widget(
        key=key,
        data={
            "label": label,
            "hint": hint,
            "accept": ",".join(accept),
            "multiple": multiple,
            "limit": settings().max_upload_bytes,
            "url": address("api/uploads"),
        },
        on_finished_change=lambda: None,
    )
    finished = result.finished
    return list(finished) if isinstance(finished, list) else []


def held(label: str, hint: str, key: str, accept: Sequence[str]) -> dict[str, Any] | None:
    """The widget for one file that stays until ``let_go``; its upload, or None."""
    if finished := uploader(label, hint, key, accept):
        state.put(f"{key}:held", finished[0])
    upload: dict[str, Any] | None = state.get(f"{key}:held")
    if upload:
        st.caption(f":material/check_circle: {markup.md(markup.line(upload['name'], 80))} is uploaded.")
    return upload


def let_go(key: str) -> None:
    """Forget the file that ``held`` holds."""
    state.put(f"{key}:held", None)
