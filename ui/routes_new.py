"""Starting a routes run: samples of a diagnosis, or a file of preference pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from core.services import checkpoints
from core.services.routes import answers
from core.services.routes import runs as routes
from core.services.routes import scorers as route_scorers
from core.services.routes.runs import WAYS
from core.text.counts import counted
from core.types import Filter, Run, Setting
from ui import choose_checkpoint, filterbar, forms, markup, state
from ui.uploader import held, let_go

_NUMBERS = (
    Setting("m", "int", 5, "Direct answers (M)", "All of one item are generated as one batch.", minimum=1, maximum=64),
    Setting("k", "int", 4, "Chains of thought (K)", minimum=1, maximum=64),
    Setting("direct_tokens", "int", 128, "Longest direct answer (tokens)", minimum=1, maximum=8192),
    Setting("path_tokens", "int", 256, "Longest chain of thought (tokens)", minimum=1, maximum=32768),
)
_SAMPLING = (
    Setting("probe_temperature", "float", 0.7, "Temperature of drawn direct answers", minimum=0.01, maximum=5.0),
    Setting("path_low", "float", 0.3, "Lowest temperature of the chains", minimum=0.01, maximum=5.0),
    Setting("path_high", "float", 0.7, "Highest temperature of the chains", minimum=0.01, maximum=5.0),
    Setting("path_top_p", "float", 0.95, "Top-p of the chains", minimum=0.01, maximum=1.0),
    Setting("seed", "int", 0, "Seed", minimum=0, maximum=2**31 - 1),
)


def _way(name: str, label: str) -> Setting:
    return Setting(name, "choice", None, label, choices=tuple(WAYS[name]), words=tuple(WAYS[name].values()))


_COMPARING = (
    _way("probes", "How direct answers are drawn"),
    _way("normaliser", "Two answers are the same by"),
    Setting(
        "hidden_states", "bool", False, "Keep hidden states of the paths",
        "The checkpoint's last hidden layer, averaged over each path: an input that a scorer can take. "
        "This reads each path once more.",
    ),
    Setting("strict", "bool", False, "Only announced answers count"),
)  # fmt: skip


def draw(run: Run | None) -> None:
    """Three tabs; the first one only where a run is looked at."""
    names = [*(["Samples of this run"] if run is not None else []), "Preference pairs", "Answers from a file"]
    tabs = st.tabs(names)
    if run is not None:
        with tabs[0]:
            _samples(run)
    with tabs[-2]:
        _pairs()
    with tabs[-1]:
        _answers(run)


def _samples(run: Run) -> None:
    if run.state != "judged":
        st.caption("The run has no verdicts yet: wait for its diagnosis.")
        return
    if run.spec.final.is_nothing:
        st.caption("No model was given, so there is none to ask. Diagnose the checkpoint itself, and do this there.")
        return
    chosen: Filter = state.selection(run.columns)
    count = routes.matching(run.id, chosen)
    filterbar.chips(run, chosen)
    st.markdown(f"**{counted(count, 'sample')}** under the current filter. Choose others on the samples page.")
    if count == 0:
        return
    start = routes.suggested(run.id, chosen)
    settings = _settings(start.as_dict(), f"run{run.id}")
    left, right = st.columns(2)
    limit = left.number_input(
        "Number of items, at most",
        1,
        1_000_000,
        min(count, 200),
        key=state.key("routes", "limit", run.id, count),
        help="Both routes are generated for each item. Of more samples every n-th is taken.",
    )
    scorers = {s.id: markup.line(s.name, 60) for s in route_scorers.list_scorers()}
    hint = "No scorer: the long route votes" if scorers else "No scorer has been trained yet"
    key = state.key("routes", "scorer", run.id)
    scorer = forms.choose(right, "Score the chains with", scorers, key, placeholder=hint)
    if scorer is not None:
        settings["choose"] = "scorer"
    if st.button("Run both routes", type="primary", icon=":material/play_arrow:", key=state.key("routes", "start")):
        route_id, _ = routes.start_for_run(run.id, chosen, replace(start, **settings), int(limit), scorer)
        state.go(state.routes_link(route_id))
        st.rerun()


def _settings(start: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The settings' form; advanced ones folded away."""
    out = forms.draw(_NUMBERS, f"routes-{prefix}", start, st.columns(4))
    with st.expander("Prompts, sampling, comparison"):
        for name, label in (("direct_prompt", "Prompt for direct answers"), ("path_prompt", "Prompt for reasoning")):
            out[name] = st.text_area(
                label, start[name], height=150, key=state.key("routes", prefix, name),
                help="{question} is replaced by the item's own text"
                + (", {a} and {b} by the two replies." if "{a}" in start[name] else "."),
            )  # fmt: skip
        out["system"] = st.text_area(
            "System message (optional)", start["system"], height=70, key=state.key("routes", prefix, "system"),
            help="Where the chat template takes no system turn, it goes before the question. The page says how often.",
        )  # fmt: skip
        left, right = st.columns(2)
        with left:
            comparing = [s for s in _COMPARING if s.name != "normaliser" or "{a}" not in start["direct_prompt"]]
            out |= forms.draw(comparing, f"routes-{prefix}", start)
        with right:
            out |= forms.draw(_SAMPLING, f"routes-{prefix}", start)
    return out


def _pairs() -> None:
    stored = {c.id: choose_checkpoint.describe(c) for c in checkpoints.list_checkpoints() if c.checkpoint.has_weights}
    if not stored:
        st.caption("Add a checkpoint on the start page first.")
        return
    hint = "Choose the model that judges"
    judge = forms.choose(st, "Judge model", stored, state.key("routes", "judge"), placeholder=hint)
    key = state.key("routes", "pairs")
    upload = held(
        "Upload preference pairs",
        "RewardBench, RM-Bench, JudgeBench or LLaMA-Factory preference rows, JSON or JSON lines.",
        key,
        (".jsonl", ".json"),
    )
    start = routes.judging_settings()
    settings = _settings(start.as_dict(), "pairs")
    limit = st.number_input("Number of pairs, at most", 1, 1_000_000, 200, key=state.key("routes", "pairs", "limit"))
    st.caption("The order of the two replies is swapped in every second draw.")
    ready = judge is not None and upload is not None
    pressed = st.button(
        "Judge the pairs", type="primary", disabled=not ready, icon=":material/play_arrow:",
        key=state.key("routes", "judge-start"),
        help=None if ready else "Choose a judge model and upload a file first.",
    )  # fmt: skip
    if pressed and judge is not None and upload is not None:
        chosen = routes.judging_settings(**{**start.as_dict(), **settings})
        route_id, _ = routes.start_pairs(
            routes.checkpoint_of(int(judge)), chosen, upload=upload["id"], limit=int(limit)
        )
        let_go(key)
        state.go(state.routes_link(route_id))
        st.rerun()


def _answers(run: Run | None) -> None:
    st.caption(
        "What any model answered, in JSON lines: question, reference, direct answers, chains of thought, and tokens "
        "and seconds where they are known. It replays here without the model."
    )
    key = state.key("routes", "answers")
    upload = held(
        "Upload answers", "JSON lines, also gzipped. The documentation on routes lists the fields.", key,
        (".jsonl", ".json", ".gz"),
    )  # fmt: skip
    model = st.text_input("Model that answered (optional)", key=state.key("routes", "answers", "model"))
    attached = run is not None and st.checkbox(
        "They answer samples of this run", key=state.key("routes", "answers", "run"),
        help="Each row names its sample in the field id. The run's samples then say what reasoning reaches.",
    )  # fmt: skip
    pressed = st.button(
        "Open the answers", type="primary", disabled=upload is None, icon=":material/play_arrow:",
        key=state.key("routes", "answers-start"), help=None if upload is not None else "Upload a file first.",
    )  # fmt: skip
    if pressed and upload is not None:
        run_id = run.id if run is not None and attached else None
        route_id, _ = answers.start_answers(upload=upload["id"], model=model, run_id=run_id)
        let_go(key)
        state.go(state.routes_link(route_id))
        st.rerun()
