"""Frame and router: the menu, the run picker, and the one place that shows what went wrong."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from streamlit.errors import FragmentHandledException
from streamlit.navigation.page import StreamlitPage

from core.services import runs
from ui import errors, login, markup, menu, state

ICON = Path(__file__).parent / "ui" / "icon.svg"
# Streamlit writes white on the primary colour, which is pale in the dark theme: 2.4 where text needs 4.5.
STYLE = """<div></div><style>
[data-testid='stBaseButton-primary']:enabled * {color: light-dark(#FFFFFF, #11161B) !important}
</style>"""


def sidebar(pages: Sequence[tuple[str, StreamlitPage]]) -> None:
    """The name, links to the pages that carry the run and the filter along, and the run looked at."""
    with st.sidebar:
        st.markdown("### Lacuna")
        st.caption("What a fine-tuned model did not learn")
        names = runs.names()
        current = state.run_id()
        if current is None and len(names) == 1:
            current = next(iter(names))
            state.look_at(current)
        with st.container(gap="xxsmall"):
            for group, members in itertools.groupby(pages, key=lambda page: page[0]):
                st.caption(f"**{group}**")
                for _, page in members:
                    st.page_link(page, width="stretch", query_params=state.link())
        login.signed_in()
        st.divider()
        if not names:
            st.caption("No runs yet.")
            return
        key = state.key("run")
        state.put(key, current if current in names else None)
        st.selectbox(
            "Run",
            list(names),
            index=0 if current in names else None,
            format_func=lambda run_id: markup.line(f"{run_id}  {names[run_id]}", 60),
            key=key,
            on_change=pick,
            args=(key,),
            placeholder="Choose a run",
        )


def pick(key: str) -> None:
    """Callback: another run, without the filter that belonged to the one before."""
    run_id = state.get(key)
    if run_id is not None:
        state.go({"run": str(run_id)})


def main() -> None:
    st.set_page_config(page_title="Lacuna", page_icon=str(ICON), layout="wide")
    try:
        if not login.gate():
            return
        entries = menu.entries()
        pages = [st.Page(path, title=e.title, icon=e.icon, default=i == 0) for i, (path, e) in enumerate(entries)]
        page = st.navigation(pages, position="hidden")
        sidebar([(e.group, page) for (_, e), page in zip(entries, pages, strict=True)])
        st.sidebar.html(STYLE)
        page.run()
    except FragmentHandledException:
        raise  # shown already where the fragment stands
    except Exception as error:
        errors.show(error)


main()
