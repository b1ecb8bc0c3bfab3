"""What ``streamlit run ui/server.py`` serves: the pages and the streaming routes, one process, one origin."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from streamlit.runtime.pages_manager import PagesManager

ROOT = Path(__file__).resolve().parent.parent
# ``streamlit run`` puts this file's folder on the path, the packages lie one above.
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from ui import errors, guard, routes  # noqa: E402

# app.py declares the pages. Before its first run Streamlit would take the folder pages/ for a declaration of its own
# and run the page that the first visitor asks for by itself, without the frame.
PagesManager.uses_pages_directory = False

app = st.App(
    ROOT / "app.py",
    routes=routes.all_routes(),
    middleware=[Middleware(guard.Guard)],
    on_script_error=errors.show,
)
