"""Step 3 of a new run: how it was trained and judged, the check before the start, the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from core.services import preflight, runs, specs
from core.services.views import TokenPiece
from core.text.counts import counted
from core.types import Dataset, Setting, Setup
from ui import cached, evidence, forms, markup, progress, state
from ui.choose_checkpoint import Chosen

_COUNTS = {
    "samples": "samples",
    "target_tokens": "target tokens",
    "dropped": "left out by the trainer",
    "refused": "refused by the template",
    "truncated": "cut",
    "not_supervised": "with target tokens that carried no loss",
}
# Counts that are said even where they are 0.
_ALWAYS = ("samples", "target_tokens", "refused")

_SAMPLING = (
    Setting(
        "max_draws", "int", 20, "Answers drawn per sample, at most",
        "Only for samples that greedy decoding does not reproduce; drawing stops early once the rate is clear.",
        minimum=1, maximum=200,
    ),
    Setting(
        "max_new_tokens", "int", 512, "Longest answer (tokens)", "Bounds the cost of one draw.", minimum=1, maximum=8192
    ),
    Setting("seed", "int", 0, "Seed", minimum=0, maximum=2**31 - 1),
)  # fmt: skip
_MEASURING = (
    Setting("dtype", "choice", "float32", "Precision", choices=("float32", "bfloat16", "auto")),
    Setting(
        "paper_mode", "bool", False, "Also ask in multiple choice",
        "As the study that named the five causes does (arXiv 2604.10079): its verdicts can then be compared with "
        "Lacuna's. Costs several more passes per sample.",
    ),
)  # fmt: skip


def draw(dataset: Dataset | None, chosen: Chosen | None, setup: Setup) -> None:
    """Draw the step: forms, check, start.

    Args:
        setup: what the trainer's configuration says of preset and settings; it stands in the forms at first.
    """
    if dataset is None or chosen is None:
        needed = {"a dataset": dataset, "a checkpoint": chosen}
        first = f"Choose {' and '.join(word for word, got in needed.items() if got is None)} first."
        st.caption(
            first
            + (" In place of a checkpoint, “No model” lets Lacuna judge the dataset alone." if chosen is None else "")
        )
        return
    _check_and_start(dataset, chosen, _forms(dataset, chosen, setup), setup)


def _forms(dataset: Dataset, chosen: Chosen, setup: Setup) -> dict[str, Any]:
    presets = {f.name: f for f in specs.presets()}
    scorers = {f.name: f for f in specs.scorers()}
    left, right = st.columns(2)
    labels = {n: form.label for n, form in presets.items()}
    help = "Rebuilds what the trainer saw: template, truncation, which tokens carried loss."
    stated, origin = setup.value("preset"), state.chosen("setup") or ""
    first = stated if stated in labels else next(iter(labels))
    preset = forms.choose(left, "Trainer preset", labels, state.key("train", "preset", origin), first, help=help)
    left.caption(markup.md(presets[preset].help))
    name, reason = cached.suggested_scorer(dataset.id)
    labels = {n: form.label + (" (suggested)" if n == name else "") for n, form in scorers.items()}
    key = state.key("train", "scorer", dataset.id)
    scorer = forms.choose(right, "An answer counts as right by", labels, key, name)
    why = f" Suggested because {reason}." if scorer == name else ""
    right.caption(markup.md(scorers[scorer].help + why))
    with st.expander("Settings"):
        left, right = st.columns(2)
        with left:
            values = setup.named("setting") if preset == stated else {}
            preset_settings = forms.draw(presets[preset].settings, f"preset-{preset}{origin}", values)
        with right:
            scorer_settings = forms.draw(scorers[scorer].settings, f"scorer-{scorer}")
            options = _sampling(chosen)
    return {
        "preset": preset,
        "preset_settings": preset_settings,
        "scorer": scorer,
        "options": {**options, "scorer_settings": scorer_settings},
    }


def _sampling(chosen: Chosen) -> dict[str, Any]:
    options = forms.draw(_SAMPLING, "train")
    backends = {form.name: form for form in specs.backends(chosen.final.checkpoint)}
    backend = next(iter(backends))
    if len(backends) > 1:
        labels = {name: form.label for name, form in backends.items()}
        backend = forms.choose(st, "Backend", labels, state.key("train", "backend", *backends), backend)
        st.caption(markup.md(backends[backend].help))
    held, *others = _MEASURING
    return options | {"backend": backend} | forms.draw((replace(held, default=specs.usual_dtype()), *others), "train")


def _check_and_start(dataset: Dataset, chosen: Chosen, asked: Mapping[str, Any], setup: Setup) -> None:
    where: Mapping[str, Any] = {
        "final_id": chosen.final.id,
        "base_id": chosen.base_id,
        "trajectory_ids": list(chosen.trajectory_ids),
    }
    now = state.fingerprint({"dataset": dataset.id, **where, **asked})
    job_id = state.chosen("preflight")
    stale = job_id is not None and state.chosen("asked") != now
    if job_id is None or stale:
        if stale:
            st.caption("Something changed since the last check.")
        if st.button("Check before starting", type="primary", key=state.key("preflight")):
            state.choose(preflight=preflight.start_preflight(dataset.id, **where, **asked), asked=now)
            st.rerun()
        st.caption("Looks at the weights, renders a few rows as the trainer saw them, and estimates the time.")
        return
    job = progress.watch(job_id, "Checking")
    progress.ended(job)
    if job.state == "done" and job.result is not None:
        _card(job.result)
        _start(dataset, chosen, where, asked, job.result, setup if setup.files else None)
    if job.state not in progress.ACTIVE and st.button("Check again", key=state.key("preflight", "again")):
        state.choose(preflight=preflight.start_preflight(dataset.id, **where, **asked), asked=now)
        st.rerun()


def _start(
    dataset: Dataset,
    chosen: Chosen,
    where: Mapping[str, Any],
    asked: Mapping[str, Any],
    check: Mapping[str, Any],
    setup: Setup | None,
) -> None:
    usable, estimate = bool(check.get("usable")), (check.get("estimate") or {}).get("seconds")
    name, button = st.columns([4, 1.6], vertical_alignment="bottom")
    given = name.text_input(
        "Name of the run",
        value=f"{dataset.name} × {chosen.final.name}"[:120],
        max_chars=120,
        key=state.key("run", "name", dataset.id, chosen.final.id),
    )
    if button.button(
        "Start the diagnosis", type="primary", disabled=not usable, key=state.key("start"), width="stretch"
    ):
        options = {k: v for k, v in asked.items() if k != "options"} | dict(asked["options"])
        run_id, _ = runs.create_run(given or "", dataset.id, **where, **options, estimate=estimate, setup=setup)
        state.leave("pages/overview.py", {"run": str(run_id)})
    if not usable:
        st.caption("The check found something that makes the result meaningless. Correct it first.")


# ------------------------------------------------------------------------------------------------------------ card


def _card(result: Mapping[str, Any]) -> None:
    facts = result["card"].get("facts", {})
    shown = [f"{k.replace('_', ' ')} {_fact(v)}" for k, v in facts.items() if isinstance(v, (int, float, str)) and v]
    st.caption(markup.md(" · ".join(shown)))
    evidence.checks(result["card"].get("checks", ()))
    counts = result.get("counts") or {}
    if counts:
        st.markdown(markup.md(counted_rows(counts)))
    rows = result.get("rows") or ()
    if rows:
        with st.expander(
            "One row as the trainer saw it" if len(rows) == 1 else f"{len(rows)} rows as the trainer saw them"
        ):
            _rows(rows)
    if known := result.get("known"):
        st.success(markup.md(known), icon=":material/inventory_2:")
    estimate = result.get("estimate") or {}
    if estimate.get("text"):
        st.info(markup.md(estimate["text"]), icon=":material/schedule:")


def counted_rows(counts: Mapping[str, int]) -> str:
    """What the check counted, in a line; of rows that it did not render, their number alone."""
    seen = counts.get("looked_at")
    if seen == 0:
        return counted(counts["samples"], "sample")
    words = [f"{counts[k]:,} {words}" for k, words in _COUNTS.items() if counts.get(k) or k in _ALWAYS]
    examined = seen is not None and seen < counts.get("samples", 0)
    return " · ".join(words) + (f" (among {counted(seen or 0, 'row')} examined)" if examined else "")


def _fact(value: float | str) -> str:
    return f"{value:,}" if isinstance(value, int) else markup.line(str(value), 60)


def _rows(rows: Sequence[Mapping[str, Any]]) -> None:
    pieces = [[TokenPiece(**p) for p in row["pieces"]] for row in rows]
    evidence.mask_legend(p for row in pieces for p in row)
    for row, shown in zip(rows, pieces, strict=True):
        st.caption(markup.md(" · ".join([f"id {row['id']}", *row.get("notes", ())])))
        if row.get("error"):
            st.caption(f":material/close: {markup.md(row['error'])}")
        else:
            evidence.mask_strip(shown)
