"""The button that copies the address of what is on the screen: run, row, filter, place in the list."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui import state

# Functions that copy; a component that offers to puts them before its own.
SCRIPT = (Path(__file__).with_name("copylink.js")).read_text()

_button = st.components.v2.component(
    "lacuna.copylink",
    html='<button type="button" aria-live="polite" title="Copy the address of this view">Copy link</button>',
    css="""
    button { font: inherit; font-family: var(--st-font);
      font-size: calc(.875 * var(--st-base-font-size)); cursor: pointer;
      color: var(--st-text-color); background: var(--st-background-color); padding: .4rem .8rem; white-space: nowrap;
      border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius, var(--st-base-radius)); }
    button:hover { border-color: var(--st-primary-color); }
    button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 1px; }
    """,
    js=SCRIPT
    + """
export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  button.onclick = () => copied(button, data);
}
""",
)


def draw() -> None:
    """The button; the address it copies opens the same view in another browser."""
    run = state.run_id()
    _button(key=state.key("copylink"), data={} if run is None else {"run": str(run)}, width="content")
