"""Scorers: what they are worth, training a new one, scoring a routes run's paths."""

from __future__ import annotations

from typing import Any

import streamlit as st

from core.services.routes import runs as routes
from core.services.routes import scorers as route_scorers
from core.services.routes.runs import RoutesRun
from core.services.routes.scorers import StoredScorer
from core.text.counts import counted
from core.types import Setting
from ui import forms, markup, parts, progress, routes_charts, state, tables
from ui.uploader import held, let_go

_LOSS = (
    Setting(
        "alpha", "float", 0.3, "Weight of ranking (α)", "The loss is (1 − α)·Huber + α·pairwise hinge.",
        minimum=0.0, maximum=1.0,
    ),
    Setting(
        "delta", "float", 0.2, "Huber δ", "With scores in 0 to 1, δ = 1 is plain squared error.",
        minimum=0.01, maximum=1.0,
    ),
    Setting("margin", "float", 0.1, "Hinge margin", minimum=0.0, maximum=1.0),
    Setting("epochs", "int", 120, "Epochs, at most", "Stops early, by held-out questions.", minimum=1, maximum=2000),
    Setting("seed", "int", 0, "Seed", minimum=0, maximum=2**31 - 1),
)  # fmt: skip
_INPUTS = (
    Setting("agreement", "bool", True, "Agreement among the paths"),
    Setting("arithmetic", "bool", True, "Whether the path's equations hold and where its numbers come from"),
    Setting("form", "bool", True, "Form: length, lines, kind of answer"),
)
_STATES = Setting(
    "states", "bool", False, "Pooled hidden states of the checkpoint that wrote the paths",
    "Only from routes runs that kept them, all of one checkpoint; imported paths have none.",
)  # fmt: skip


def draw() -> None:
    """All scorers and the form for a new one."""
    found = route_scorers.list_scorers()
    _training()
    for scorer in found:
        with st.expander(f"{markup.md(markup.line(scorer.name, 80))} (scorer {scorer.id})"):
            _scorer(scorer)
    if not found:
        st.caption("No scorer yet. The long route votes among its paths until one is trained.")
    with st.expander("Train a scorer", icon=":material/add:"):
        _train()


def _percent(value: dict[str, Any]) -> str:
    if value["value"] is None:
        return "not measured"
    return f"{value['value']:.1%} ({100 * value['low']:.1f} to {100 * value['high']:.1f}%)"


def _scorer(scorer: StoredScorer) -> None:
    facts, m = scorer.facts, scorer.facts["metrics"]
    st.caption(
        markup.md(
            f"{counted(facts['questions'], 'question')}, {counted(facts['paths'], 'path')}; measured on "
            f"{counted(m['questions'], 'held-out question')} with {counted(m['pairs'], 'pair')}. "
            f"{scorer.encoder or 'No embeddings'}. "
            f"Data {facts['data_hash'][:12]}."
        )
    )
    rows = [
        ("Pairs ordered right", m["pairwise"]),
        ("Pairs ordered right by preferring the shorter path", m["pairwise_shorter"]),
        ("Questions answered right by the best score", m["best_of_k"]),
        ("Questions answered right by the weighted vote", m["weighted"]),
        ("Questions answered right by the vote", m["vote"]),
        ("Questions answered right by an oracle", m["oracle"]),
    ]
    tables.draw([{"measure": name, "value, 95% interval": _percent(v)} for name, v in rows])
    parts.chart(("scorer", scorer.id), routes_charts.scores(m["histogram"]), "Scores of right and wrong paths")
    values = [
        f"{word} {m[name]:.3f}"
        for name, word in (("auroc", "AUROC"), ("brier", "Brier score"), ("ece", "calibration error"),
                           ("length_correlation", "rank correlation with length"))
        if m[name] is not None
    ]  # fmt: skip
    st.caption(markup.md(", ".join(values) + ". A score is not a probability: compare ranks and margins."))
    if st.button("Delete", key=state.key("scorer", "delete", scorer.id), icon=":material/delete:"):
        route_scorers.delete_scorer(scorer.id)
        st.rerun()


def _training() -> None:
    job_id = state.get(state.key("scorer", "job"))
    if job_id is not None:
        job = progress.watch(job_id, "Waiting for the worker")
        progress.ended(job)
        if job.state == "done":
            state.put(state.key("scorer", "job"), None)


def _train() -> None:
    mine = {r.id: r.name for r in routes.list_routes() if r.mode == "answering" and r.done}
    picked = st.multiselect(
        "Paths of these routes runs, judged by their gold answers",
        list(mine),
        format_func=lambda i: f"{i}  {markup.line(mine[i], 60)}",
        key=state.key("scorer", "from"),
    )
    key = state.key("scorer", "upload")
    upload = held(
        "Upload labelled paths",
        'JSON lines: {"question": …, "paths": [{"text": …, "label": 0 or 1}, …]}; GSM8K model solutions as they are.',
        key,
        (".jsonl", ".json"),
    )
    left, right = st.columns(2)
    with left:
        settings = forms.draw(_LOSS, "scorer")
    with right:
        settings |= forms.draw(_INPUTS, "scorer-inputs")
        there = bool(route_scorers.encoder_names())
        settings["embeddings"] = st.checkbox(
            "Embeddings of question, path and answer",
            value=there,
            disabled=not there,
            key=state.key("scorer", "embeddings"),
            help=None if there else "This installation has no sentence encoder.",
        )
        settings |= forms.draw((_STATES,), "scorer-inputs")
        normaliser = forms.choose(
            st,
            "Answers in the file are the same by",
            routes.WAYS["normaliser"],
            state.key("scorer", "normaliser"),
            "numeric",
        )
    if st.button("Train", type="primary", disabled=not (picked or upload), key=state.key("scorer", "train")):
        job = route_scorers.start_training(
            route_scorers.scorer_settings(settings),
            picked,
            upload=upload["id"] if upload else None,
            normaliser=normaliser,
        )
        let_go(key)
        state.put(state.key("scorer", "job"), job)
        st.rerun()


def for_run(found: RoutesRun) -> None:
    """Scoring the paths of one routes run."""
    scorers = {s.id: markup.line(s.name, 60) for s in route_scorers.list_scorers()}
    if not scorers:
        st.caption("No scorer has been trained yet. Train one on the page that lists the routes runs.")
        return
    picked = forms.choose(st, "Scorer", scorers, state.key("routes", "score", found.id), next(iter(scorers)))
    if st.button("Score the paths", key=state.key("routes", "score-start"), icon=":material/leaderboard:"):
        route_scorers.start_scoring(found.id, int(picked))
        st.rerun()
