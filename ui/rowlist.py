"""Rows of a run as a table, or as a list beside the row that is open; keys and selection work in the browser.

The texts of a page travel once and are drawn as text there, so that going from row to row waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from core.services import causes
from core.services.causes import look as cause_look
from core.services.excerpts import Excerpt
from core.services.views import Page
from core.text.counts import counted
from core.types import Column, Filter, Look, Run
from ui import charts, copylink, markup, state, tables

_HERE = Path(__file__).resolve().parent
_list = st.components.v2.component(
    "lacuna.rows",
    html='<div class="rows"></div>',
    css=(_HERE / "rowlist.css").read_text(),
    js=copylink.SCRIPT + (_HERE / "rowlist.js").read_text(),
)
# Characters of a text that a row carries; the evidence below the open row has the whole.
_LONGEST = 2_000
# Characters of a prompt in the table, and of a row's heading.
_CELL, _HEADING = 160, 140
# Turns of a conversation before the one that is shown.
_TURNS = 8
# Columns that are drawn from a row's excerpt, beside those that the run declares.
TEXTS = (("prompt", "text", "Prompt"), ("target", "target", "Target"), ("output", "output", "Output"))


TAGS = {"name": "tag", "kind": "word", "label": "Tags", "help": "Tags that people put on the sample.", "sort": False}


def draw(
    run: Run, selection: Filter, page: Page, excerpts: Mapping[str, Excerpt], columns: Sequence[Column],
    sortable: set[str], scale: float, alike: Mapping[str, int], tags: Mapping[int, Sequence[str]], opened: str | None,
) -> None:  # fmt: skip
    """Draw the rows of ``page``; what a person does is taken with ``taken`` in the next run.

    Args:
        columns: the run's columns to show.
        sortable: names of columns that the whole run can be ordered by quickly.
        scale: the loss at the upper end of every line.
        tags: ordinal to the tags that people put on the sample.
        alike: cause to the number of samples of the run that have it.
        opened: id of the row that is open; None for the table.
    """
    key = state.key("rows", run.id)
    data = {
        "run": run.id,
        "rows": _rows(run, page.rows, excerpts, columns, alike, tags),
        "columns": _heads(run, columns, sortable) + ([TAGS] if tags else []),
        "open": opened,
        "query": selection.text,
        "sort": [selection.sort, selection.descending],
        "scale": scale,
        "before": page.previous is not None,
        "behind": page.next is not None,
        "clear": state.get(_CLEAR, 0),
    }
    _list(key=key, data=data, on_act_change=lambda: _take(key))


_ACT, _CLEAR = state.key("rows", "act"), state.key("rows", "clear")


def _take(key: str) -> None:
    """Callback: keep what was done for the script that runs next."""
    state.put(_ACT, (state.get(key) or {}).get("act"))


def taken() -> Mapping[str, Any] | None:
    """What was done since the last run, once: ``do`` and what it was done to."""
    act: Mapping[str, Any] | None = state.get(_ACT)
    state.put(_ACT, None)
    return act


def clear() -> None:
    """Let go of the selected rows: what was to be done to them is done."""
    state.put(_CLEAR, state.get(_CLEAR, 0) + 1)


# ------------------------------------------------------------------------------------------------------- columns


def _heads(run: Run, columns: Sequence[Column], sortable: set[str]) -> list[dict[str, Any]]:
    def head(name: str, kind: str, label: str, help: str = "") -> dict[str, Any]:
        return {"name": name, "kind": kind, "label": label, "help": help, "sort": name in sortable}

    heads = [head("ordinal", "number", "#", "Position in the training order, from 0.")]
    heads += [head(c.name, "chip", c.label, c.help) for c in columns if _is_chip(c)]
    heads += [head(*text) for text in TEXTS]
    if steps(run):
        about = "Loss from the base over the checkpoints to the final one. All lines have the same scale."
        heads.append(head("along", "line", "Loss over training", about))
    for column in columns:
        if not _is_chip(column):
            label = f"{column.label} ({column.unit})" if column.unit else column.label
            better = {"low": " Lower is better.", "high": " Higher is better."}.get(column.better, "")
            kind = "number" if column.kind == "number" else "word"
            heads.append(head(column.name, kind, label, column.help + better))
    return heads


def _is_chip(column: Column) -> bool:
    return column.name in ("status", "cause")


def steps(run: Run) -> list[str]:
    """Columns of the loss in the order of the training, the base first; empty where only the final one was measured."""
    roles = list(run.spec.checkpoints)
    return [role.column("nll") for role in roles] if len(roles) > 1 else []


def numbers(values: Sequence[float | None]) -> list[str | None]:
    """A column of numbers as texts that stand under each other: all whole, or all with three places."""
    known = [v for v in values if v is not None and math.isfinite(v)]
    places = 0 if all(v == int(v) for v in known) else 3 if max(map(abs, known)) < 1000 else 1
    smallest = 10.0**-places

    def text(value: float | None) -> str | None:
        if value is None or not math.isfinite(value):
            return None
        return f"<{smallest:g}" if places and 0 < value < smallest / 2 else f"{value:,.{places}f}"

    return [text(v) for v in values]


# ---------------------------------------------------------------------------------------------------------- rows


def _rows(
    run: Run, rows: Sequence[Mapping[str, Any]], excerpts: Mapping[str, Excerpt], columns: Sequence[Column],
    alike: Mapping[str, int], tags: Mapping[int, Sequence[str]],
) -> list[dict[str, Any]]:  # fmt: skip
    along = steps(run)
    cells: dict[str, list[Any]] = {"ordinal": [f"{row['ordinal']:,}" for row in rows]}
    for column in columns:
        values = [row.get(column.name) for row in rows]
        if column.name == "status":
            cells["status"] = [_chip(charts.STATUS[str(v)]) for v in values]
        elif column.name == "cause":
            cells["cause"] = [None if v is None else _chip(cause_look(v)) for v in values]
        elif column.kind == "number":
            cells[column.name] = list(numbers(values))
        elif column.kind == "flag":
            cells[column.name] = [None if v is None else "yes" if v else "no" for v in values]
        else:
            cells[column.name] = [None if v is None else str(tables.cell(v)) for v in values]
    drawn = []
    for i, row in enumerate(rows):
        excerpt = excerpts[row["sid"]]
        line = [row[name] for name in along if row.get(name) is not None]
        own = {name: values[i] for name, values in cells.items()}
        own |= {"prompt": _asked(excerpt, _CELL), "along": line if line and len(line) == len(along) else None}
        own["tag"] = ", ".join(markup.line(tag, 60) for tag in tags.get(row["ordinal"], ())) or None
        drawn.append({"sid": row["sid"], "cells": own} | _card(row, excerpt, alike))
    return drawn


def _chip(look: Look, note: str = "") -> dict[str, str]:
    return {"text": charts.label_of(look) + note, "colour": look.colour, "ink": look.ink}


def _asked(excerpt: Excerpt, limit: int) -> str:
    """What the shown turn answers, in one line."""
    last = next((text for role, text in reversed(excerpt.prompt) if role in ("user", "tool")), "")
    return markup.line(last, limit) or markup.line(excerpt.target, limit) or "(empty)"


def _text(value: str) -> str:
    return markup.visible(markup.clip(value, _LONGEST))


def _card(row: Mapping[str, Any], excerpt: Excerpt, alike: Mapping[str, int]) -> dict[str, Any]:
    """Everything that stands above the fold of a row's page."""
    status, cause = charts.STATUS[str(row["status"])], row["cause"]
    chips = [_chip(status)]
    if cause is not None:
        confidence = row.get("confidence")
        chips.append(_chip(cause_look(cause), f" {sure(confidence)}" if confidence is not None else ""))
    if row.get("reachable_by_reasoning") == 1:
        chips.append({"text": "↷ Known, not recalled directly", "colour": "#1C7C7C", "ink": "#FFFFFF"})
    facts = [f"#{row['ordinal']:,}", f"input row {row['row'] + 1:,}", f"id {markup.line(row['sid'], 60)}"]
    facts += [f"{name} {markup.line(row[name], 40)}" for name in ("stage", "source") if row.get(name)]
    if row["copies"] > 1:
        facts.append(f"{row['copies']:,} identical rows in the dataset")
    if excerpt.turns > 1:
        first = ", the first that fails" if excerpt.right is False else ""
        facts.append(f"turn {excerpt.turn + 1} of {excerpt.turns}{first}")
    left_out = len(excerpt.prompt) - _TURNS
    earlier = [("", f"… {counted(left_out, 'earlier message')}")] if left_out > 0 else []
    return {
        "name": f"row {row['row'] + 1:,}",
        "title": _asked(excerpt, _HEADING),
        "mark": status.mark,
        "status": status.label,
        "facts": " · ".join(facts),
        "chips": chips,
        "sentence": markup.visible(f"{causes.meaning(cause) if cause else ''} {excerpt.sentence}".strip()),
        "prompt": [*earlier, *((role, _text(text)) for role, text in excerpt.prompt[-_TURNS:])],
        "target": _text(excerpt.target),
        "output": None if excerpt.output is None else _text(excerpt.output),
        "turn": f"turn {excerpt.turn + 1}" if excerpt.turns > 1 else "",
        "judged": {True: "counts as right", False: "counts as wrong", None: ""}[excerpt.right],
        "acts": acts(row, alike),
    }


def sure(confidence: float) -> str:
    """A confidence in words that never claim certainty."""
    return f"over {causes.SURE:.0%}" if causes.SURE < confidence < 1 else f"{confidence:.0%}"


def acts(row: Mapping[str, Any], alike: Mapping[str, int]) -> list[dict[str, str]]:
    """What can be done about a row, the most fitting first."""
    cause, status = row["cause"], row["status"]
    ways = []
    if row.get("group") is not None:
        ways.append({"do": "decide", "label": "Decide the contradiction", "help": "The rows that ask the same."})
    if cause is not None and cause in causes.values() and alike.get(cause, 0) > 1 and status != "learned":
        like = {
            "do": "like",
            "label": f"Treat these {alike[cause]:,} like it",
            "help": f"Every sample of this run with the cause “{cause_look(cause).label}”.",
        }
        ways.insert(0 if cause != "data_inconsistency" else len(ways), like)
    if row.get("reachable_by_reasoning") == 1:
        ways.append({"do": "reached", "label": "Treat what reasoning reaches",
                     "help": "All samples that a chain of thought reaches and a direct answer does not."})  # fmt: skip
    if status != "learned":
        ways.append({"do": "treat", "label": "Treat this row", "help": "Choose a recipe for this row alone."})
        ways.append({"do": "ask", "label": "Ask by reasoning", "help": "Direct answers against chain of thought."})
    return ways
