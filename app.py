"""Frame and router: the pages there are, the run picker, and the one place that shows what went wrong."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.errors import FragmentHandledException

from core.services import runs
from ui import errors, markup, state

ICON = Path(__file__).parent / "ui" / "icon.svg"
PAGES = (
    st.Page("pages/start.py", title="Start", icon=":material/add_circle:", default=True),
    st.Page("pages/overview.py", title="Overview", icon=":material/donut_small:"),
    st.Page("pages/samples.py", title="Samples", icon=":material/table_rows:"),
    st.Page("pages/clusters.py", title="Clusters", icon=":material/hub:"),
    st.Page("pages/contradictions.py", title="Contradictions", icon=":material/compare_arrows:"),
    st.Page("pages/knowledge.py", title="Knowledge", icon=":material/psychology:"),
    st.Page("pages/dynamics.py", title="Dynamics", icon=":material/timeline:"),
    st.Page("pages/routes.py", title="Routes", icon=":material/alt_route:"),
    st.Page("pages/mitigation.py", title="Mitigation", icon=":material/healing:"),
    st.Page("pages/compare.py", title="Compare", icon=":material/difference:"),
    st.Page("pages/selftest.py", title="Self-test", icon=":material/science:"),
    st.Page("pages/jobs.py", title="Jobs", icon=":material/schedule:"),
)


def sidebar() -> None:
    """The name, the run looked at, and links that carry it and the filter along."""
    with st.sidebar:
        st.markdown("### Lacuna")
        st.caption("What a fine-tuned model did not learn")
        for page in PAGES:
            st.page_link(page, width="stretch", query_params=state.link())
        st.divider()
        found = {r.id: r for r in runs.list_runs()}
        if not found:
            st.caption("No runs yet.")
            return
        current = state.run_id()
        key = state.key("run")
        state.put(key, current if current in found else None)
        st.selectbox(
            "Run",
            list(found),
            index=0 if current in found else None,
            format_func=lambda i: markup.line(f"{i}  {found[i].name}", 60),
            key=key,
            on_change=pick,
            args=(key,),
            placeholder="Choose a run",
        )


def pick(key: str) -> None:
    """Callback: another run, without the filter that belonged to the one before."""
    chosen = state.get(key)
    if chosen is not None:
        state.go({"run": str(chosen)})


def main() -> None:
    st.set_page_config(page_title="Lacuna", page_icon=str(ICON), layout="wide")
    page = st.navigation(PAGES, position="hidden")
    try:
        sidebar()
        page.run()
    except FragmentHandledException:
        raise  # shown already where the fragment stands
    except Exception as error:
        errors.show(error)


main()
