"""What the browser remembers: the only file that names URL parameters and ``session_state`` keys.

The address holds the run, the sample, the filter and the place in the list, so that a reload, a shared link and the
back button give the same view. The session holds what is worth nothing tomorrow, such as text in an unsent form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from core.filters import PAGE_KEYS, from_query, to_query
from core.types import Column, Filter

# Parameters of the start page carry a dot, which no column's name can.
_START = "start."


# -------------------------------------------------------------------------------------------------------- address


def _parameters() -> dict[str, str]:
    return {name: st.query_params[name] for name in st.query_params}


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def query() -> dict[str, str]:
    """The filter as it stands in the address, other parameters left out."""
    return {k: v for k, v in _parameters().items() if k not in PAGE_KEYS and not k.startswith(_START)}


def selection(columns: Iterable[Column]) -> Filter:
    """The filter of the address.

    Raises:
        UserError: the address names a column that the run does not have.
    """
    return from_query(query(), columns)


def run_id() -> int | None:
    """The run in the address, else the one looked at last in this session."""
    named = _whole_number(st.query_params.get("run"))
    if named is not None:
        st.session_state["run"] = named
    return named if named is not None else st.session_state.get("run")


def look_at(run: int) -> None:
    """Make ``run`` the one looked at in this session, where the address names none."""
    st.session_state["run"] = run


def sample_id() -> str | None:
    """The sample whose evidence is open, or None for the list."""
    return st.query_params.get("sample")


def cursor() -> str | None:
    """Where the list stands, or None for its beginning."""
    return st.query_params.get("cursor")


def group() -> str | None:
    """The column that the samples are grouped by, or None."""
    return st.query_params.get("by")


def group_by(name: str | None) -> None:
    """Callback: group the samples by a column, or not at all."""
    go({k: v for k, v in _parameters().items() if k != "by"} | ({"by": name} if name else {}))


def routes_id() -> int | None:
    """The routes run that is open, or None for the list of them."""
    return _whole_number(st.query_params.get("routes"))


def item() -> int | None:
    """The item of it whose two routes are open, or None for the whole."""
    return _whole_number(st.query_params.get("item"))


def routes_link(routes: int | None = None, item: int | None = None) -> dict[str, str]:
    """Parameters for a routes run, or one item of it, with the run and filter that stand."""
    out = link()
    if routes is not None:
        out["routes"] = str(routes)
    if item is not None:
        out["item"] = str(item)
    return out


def link(
    run: int | None = None, selection: Filter | None = None, sample: str | None = None, cursor: str | None = None
) -> dict[str, str]:
    """Parameters for a link: the run given or looked at, the filter given or the one that stands."""
    chosen = run if run is not None else run_id()
    kept = to_query(selection) if selection is not None else query() if run in (None, run_id()) else {}
    out = {"run": str(chosen)} if chosen is not None else {}
    out |= kept
    if run in (None, run_id()) and (by := group()) is not None:
        out["by"] = by
    if cursor is not None:
        out["cursor"] = cursor
    if sample is not None:
        out["sample"] = sample
    return out


def other() -> int | None:
    """The run that the one looked at is compared with."""
    return _whole_number(st.query_params.get("other"))


def compare_with(run: int) -> None:
    """Compare the run looked at with ``run``, as one step."""
    go(_parameters() | {"other": str(run)})


def go(parameters: Mapping[str, str]) -> None:
    """Make ``parameters`` the address, as one step that the back button undoes."""
    _followed()
    if _parameters() != dict(parameters):
        st.query_params.from_dict(dict(parameters))


def leave(page: str, parameters: Mapping[str, str]) -> None:
    """Go to another page, as one step that the back button undoes."""
    _followed()
    st.switch_page(page, query_params=dict(parameters))


def _followed() -> None:
    st.session_state["followed"] = st.session_state.get("followed", 0) + 1


def turn(to: str | None) -> None:
    """Callback: another place in the same list."""
    go({k: v for k, v in _parameters().items() if k != "cursor"} | ({"cursor": to} if to else {}))


def forget_run() -> None:
    """Leave the run: it was deleted."""
    st.session_state.pop("run", None)
    go({})


# ----------------------------------------------------------------------------------------------------- start page


def chosen(name: str) -> int | None:
    """A number that the start page keeps in the address: ``dataset``, ``final``, ``base``, or a job's id."""
    return _whole_number(st.query_params.get(_START + name))


def start_link(**values: int) -> dict[str, str]:
    """Parameters for the start page with these numbers chosen, as ``choose`` sets them."""
    return {_START + name: str(value) for name, value in values.items()}


def fingerprint(value: Any) -> int:
    """A number for the address: which question a job answered."""
    text = json.dumps(value, sort_keys=True, default=str)
    return int(hashlib.sha256(text.encode()).hexdigest()[:14], 16)


def choose(**values: int | None) -> None:
    """Set or clear numbers of the start page, as one step."""
    parameters = _parameters()
    for name, value in values.items():
        parameters.pop(_START + name, None)
        if value is not None:
            parameters[_START + name] = str(value)
    go(parameters)


# -------------------------------------------------------------------------------------------------------- session


def key(*parts: object) -> str:
    """The session key of a widget."""
    return "w:" + ":".join(str(part) for part in parts)


def selectable(*parts: object) -> str:
    """The session key of a chart or table whose selection leads elsewhere.

    It changes with the filter and with every step. A browser that goes back before a page is drawn to its end still
    holds the selection that led away; under the same key it would lead away again.
    """
    return key(*parts, *(f"{k}={v}" for k, v in query().items()), st.session_state.get("followed", 0))


def put(name: str, value: Any) -> None:
    """Set a widget's value before it is drawn."""
    st.session_state[name] = value


def get(name: str, default: Any = None) -> Any:
    """A widget's value, as its callback sees it."""
    return st.session_state.get(name, default)


def keep(name: str) -> None:
    """Hold a widget's value while the widget is not drawn; Streamlit forgets it otherwise."""
    if name in st.session_state:
        st.session_state[name] = st.session_state[name]


def drop(prefix: str) -> None:
    """Forget every widget whose key begins with ``prefix``: the next draw starts from its defaults."""
    for name in [n for n in st.session_state if isinstance(n, str) and n.startswith(prefix)]:
        del st.session_state[name]


def say(text: str) -> None:
    """Leave a short word for the next draw, which a rerun would otherwise lose."""
    st.session_state["word"] = text


def author() -> str:
    """Who judged last in this session; a name need not be typed for every row."""
    return str(st.session_state.get("author", ""))


def remember_author(name: str) -> None:
    """Offer this name in the next form."""
    st.session_state["author"] = name


def seen(thing: tuple[object, ...], version: float | None) -> float | None:
    """The version of a thing that the person saw when its form was first drawn, to be named when it is saved."""
    versions: dict[tuple[object, ...], float | None] = st.session_state.setdefault("seen", {})
    return versions.setdefault(thing, version)


def forget_seen(thing: tuple[object, ...]) -> None:
    """The next draw of the form shows what stands then."""
    st.session_state.get("seen", {}).pop(thing, None)


def heard() -> str | None:
    """The word left by ``say``, once."""
    word: str | None = st.session_state.pop("word", None)
    return word
