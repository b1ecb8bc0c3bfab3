"""What happened along the training: the data map, what was learned and lost when, and whether order mattered."""

from __future__ import annotations

import streamlit as st

from core.services import dynamics as service
from core.services.dynamics import Dynamics, Points, Trend
from core.text.counts import counted
from core.types import Filter, Run
from ui import along, cached, charts, filterbar, frame, markup, parts, recorded, selecting, state
from ui.menu import Entry

PAGE = Entry(title="Dynamics", icon=":material/timeline:", place=70)

# Rows of the map's table.
ROWS = 1_000
_AXES = ("variability: its standard deviation over checkpoints", "mean probability of a target token")


def main() -> None:
    run, selection = frame.open_run("Dynamics")
    filterbar.chips(run, selection)
    found = cached.dynamics(run, state.query())
    if found.whole is None:
        st.info("No sample passes this filter.", icon=":material/filter_alt_off:")
        return
    if service.has_trajectory(run):
        _map(run, selection)
        _events(run, found)
        _stages(run, found)
    else:
        _without()
    recorded.draw(run, selection)
    _order(run, selection, found)
    _loss(run, found)


def _without() -> None:
    with st.container(border=True):
        st.markdown("**No earlier checkpoint was measured**")
        st.markdown(
            "Only checkpoints saved during the training show what was learned and lost again. Choose their "
            "`checkpoint-N` folders under *Earlier checkpoints* when you start a run, or name the folder that holds "
            "them on the command line:"
        )
        st.code(
            ".venv/bin/lacuna diagnose --dataset train.jsonl --checkpoint out/final --trajectory out", language="bash"
        )
        st.caption(
            "Without saved checkpoints, `lacuna_recorder.py` writes down each sample's loss while the trainer runs: "
            "add it to the trainer and give its files with `--recording`."
        )
        st.caption("What was measured under the final checkpoint is kept and not measured again.")
        parts.link("start", "New diagnosis", "add_circle")


def _map(run: Run, selection: Filter) -> None:
    with st.container(border=True):
        found = cached.data_map(run, state.query())
        if not found.sids:
            st.markdown("**Data map**")
            st.caption("No sample of this selection was measured under every checkpoint.")
            return
        event = parts.figure(
            (run.id, "map"),
            "Data map",
            lambda: _map_rows(found),
            lambda: along.data_map(found, _AXES),
            "Mean probability over variability of each sample",
            ("points", "box"),
            tools=True,
        )
        if event is None and len(found.sids) > ROWS:
            st.caption(f"The first {ROWS:,} of them. The samples page lists all under the same filter.")
        filterbar.narrow(run, selection, selecting.from_area(event, *service.MAP))
        parts.open_sample(run, selecting.point_from(event, found.sids))
        drawn = (
            f"The map shows {len(found.sids):,} of {found.total:,} samples, evenly spread and always the same ones."
            if len(found.sids) < found.total
            else f"{counted(found.total, 'sample')}."
        )
        st.caption(
            f"{drawn} Top left: learned early and kept. Bottom left: never learned. Right: learned late, or lost. "
            "Drag a rectangle to keep the samples in it, or click a point to open its sample."
        )


def _map_rows(found: Points) -> list[dict[str, object]]:
    return [
        {"id": markup.line(sid, 60), "variability": x, "mean probability": y, "status": group}
        for sid, x, y, group in zip(found.sids[:ROWS], found.x, found.y, found.groups, strict=False)
    ]


def _events(run: Run, found: Dynamics) -> None:
    whole = found.whole
    assert whole is not None
    with st.container(border=True):
        parts.figure(
            (run.id, "events"),
            "Learned and forgotten, checkpoint by checkpoint",
            lambda: along.as_rows(found.stops, whole),
            lambda: along.events(found.stops, whole),
            "Samples learned and forgotten at each checkpoint",
        )
        note = "" if found.base else " The base was not measured, so the first checkpoint has nothing before it."
        st.caption(
            "A sample is reproduced when greedy decoding gives its target token by token; under the final checkpoint "
            "also when the scorer calls its answer right." + note
        )
        forgotten, never = (selecting.one_of("forgotten", [value]) for value in (1, 0))
        ways = {"Forgotten": [forgotten], "Never reproduced": [never, selecting.one_of("status", ["unlearned"])]}
        with st.container(horizontal=True):
            for label, terms in ways.items():
                key = state.key("dynamics", label)
                if st.button(f"{label}: open the samples", icon=":material/table_rows:", key=key):
                    parts.open_samples(run, state.selection(run.columns), terms)


def _stages(run: Run, found: Dynamics) -> None:
    if len(found.stages) < 2:
        return
    with st.container(border=True):
        parts.figure(
            (run.id, "stages"),
            "Share reproduced by stage and checkpoint",
            lambda: [
                {"stage": markup.line(charts.name_of(s.name), 60), **row}
                for s in found.stages
                for row in along.as_rows(found.stops, s)
            ],
            lambda: along.matrix(found.stops, found.stages),
            "Share reproduced by stage and checkpoint",
        )
        st.caption("A stage whose share falls while a later one is trained was overwritten by it.")


def _order(run: Run, selection: Filter, found: Dynamics) -> None:
    with st.container(border=True):
        event = parts.figure(
            (run.id, "order"),
            "Status along the training order",
            lambda: [
                {"from row": p.low, "to row": p.high} | {n: p.status.get(n, 0) for n in charts.STATUS}
                for p in found.order
            ],
            lambda: along.order(found.order),
            "Status by part of the training order",
            ("points",),
        )
        parts.open_chosen(run, selection, selecting.from_order(event, [(p.low, p.high) for p in found.order]))
        st.markdown(markup.md(_trend_words("over the whole order", found.overall)))
        if found.within is not None:
            st.markdown(markup.md(_trend_words("within stages, differences between them set aside", found.within)))
        st.caption(
            "Two-sided Cochran–Armitage test for a trend of the share learned over twenty parts of the order; within "
            "stages in Mantel's stratified form. The order is that of the dataset's rows. A trainer that shuffles, as "
            "the transformers Trainer does by default, trained in another order within a stage."
        )


def _trend_words(where: str, found: Trend | None) -> str:
    if found is None:
        return f"Share learned {where}: no trend can be seen, because all samples ended alike."
    z, p, slope = found.z, found.p, found.slope
    if p >= 0.05:
        return f"Share learned {where}: no trend is seen (z = {z:.2f}, p = {p:.2g})."
    word = "rises" if slope > 0 else "falls"
    change = f"{word} by {100 * abs(slope):.0f} percentage points from the first to the last sample"
    return f"Share learned {where}: {change} (z = {z:.2f}, p = {p:.2g})."


def _loss(run: Run, found: Dynamics) -> None:
    with st.container(border=True):
        if not found.losses:
            st.markdown("**Training loss**")
            st.caption(
                "Unknown: no checkpoint of this run has a trainer_state.json. Copy it from the trainer's output folder "
                "into the checkpoint folder."
            )
            return
        event = parts.figure(
            (run.id, "loss"),
            "Training loss",
            lambda: [{"step": s, "loss": v} for s, v in found.losses],
            lambda: along.loss(found.losses, found.stops),
            "Training loss by step",
        )
        if event is not None:
            st.caption("From trainer_state.json. Dotted lines: the checkpoints measured here.")


main()
