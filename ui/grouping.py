"""The samples under the filter, grouped by a category: where they lie, and from a group to its rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.services import samples
from core.services.grouped import Group
from core.types import Filter, Run, Term
from ui import cached, charts, filterbar, forms, markup, selecting, state, tables

# Groups that are listed; a filter finds the others.
_MOST = 100
# Columns that are offered first, in this order; every other category of the run follows.
_FIRST = ("cause", "source", "stage", "pattern")


def chosen(run: Run) -> str | None:
    """What the samples are grouped by now; None for nothing, or where the address names no such column."""
    by = state.group()
    return by if by in _offered(run) else None


def _offered(run: Run) -> list[str]:
    names = {c.name: c for c in run.columns}
    first = [n for n in _FIRST if n in names]
    rest = [c.name for c in run.columns if c.kind == "category" and c.indexed and c.name not in (*first, "status")]
    return [*first, *rest, "tag"]


def choose(run: Run) -> str | None:
    """The box that chooses what to group by; None for nothing."""
    names = {c.name: c.label.lower() for c in run.columns} | {"tag": "tag"}
    labels = {"": "No groups"} | {n: f"Group by {names[n]}" for n in _offered(run)}
    key = state.key("group", run.id)
    state.put(key, chosen(run) or "")
    forms.choose(
        st, "Group by", labels, key, "", label_visibility="collapsed", width=160,
        on_change=lambda: state.group_by(state.get(key) or None),
    )  # fmt: skip
    return chosen(run)


def draw(run: Run, selection: Filter, by: str) -> None:
    """The groups as a table, the one with most samples that were not learned first; a click keeps one."""
    groups = cached.groups(run, state.query(), by)
    shown = groups[:_MOST]
    label = next((c.label for c in run.columns if c.name == by), "Tag")
    place = tables.pick(
        [{label: _name(run, by, group), **_counts(group)} for group in shown],
        state.selectable("groups", run.id, by),
        {"percent": ("not learned",)},
    )
    if len(groups) > len(shown):
        st.caption(f"The first {len(shown):,} of {len(groups):,} groups.")
    if place is not None:
        filterbar.narrow(run, selection, [_term(by, shown[place].value)])


def _name(run: Run, by: str, group: Group) -> str:
    """A group as people read it; a pattern by one of its prompts."""
    if by == "pattern" and group.value is not None:
        rows = samples.page(run.id, Filter((_term(by, group.value),)), None, 1, 1).rows
        return markup.line(rows[0]["prompt"], 120) if rows else str(group.value)
    if by == "cause":
        return charts.cause_name(group.value) or "no cause judged"
    return markup.line(charts.name_of(None if group.value is None else str(group.value)), 120)


def _counts(group: Group) -> Mapping[str, Any]:
    missing = group.status.get("partly", 0) + group.status.get("unlearned", 0)
    return {
        "samples": group.n,
        "not learned": missing / group.n,
        **{look.label.lower(): group.status.get(name, 0) for name, look in charts.STATUS.items()},
    }


def _term(by: str, value: Any) -> Term:
    if by == "pattern" and value is not None:
        return selecting.between(by, float(value), float(value))
    return selecting.one_of(by, [value])
