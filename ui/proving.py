"""Step 4 of a mitigation: a small training run against control arms, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import streamlit as st

from core.errors import UserError
from core.filters import describe, from_query
from core.services import again as again_from_base
from core.services import jobs, mitigation, proofs, recipes, words
from core.text.counts import counted
from core.types import Filter, Proof, Run
from ui import charts, forms, markup, parts, progress, state, tables
from ui.choose_recipe import Recipe

_MARKS = {
    "specific": ":material/verified: Works, and because of this recipe",
    "works": ":material/check_circle: Works",
    "open": ":material/help: Could be chance",
    "against": ":material/cancel: The uniform mix does better",
}
_AGAIN_MARKS = _MARKS | {"against": ":material/cancel: Unchanged data do better"}
# Share of learned samples whose loss is too high a price.
DAMAGE = 0.03
_ARMS = {
    "before": "the checkpoint itself",
    "treatment": "this recipe",
    "again": "unchanged data",
    "control": "uniform mix",
    "off_target": "another recipe",
}
_SHOWN = {False: ("steps", "batch", "samples", "method"), True: ("epochs", "batch", "samples", "order")}
_WAYS = {False: "Go on from the checkpoint", True: "Train again from the base"}
_CAPTIONS = {
    False: "Trains three copies of the checkpoint for the same small number of steps: one on this recipe, one on a "
    "uniform mix of the dataset, one on the same samples under another recipe. Each copy is then asked for these "
    "samples. Other learned samples limit how much of a training is kept. The checkpoint itself is only read.",
    True: "Trains the base four times on as many rows: the dataset with this recipe's rows, the dataset unchanged in "
    "another order, with rows repeated uniformly, and with another recipe's rows. This answers what to change before "
    "training again. It takes four whole trainings.",
}


def draw(run: Run, selection: Filter, chosen: Recipe) -> None:
    """Draw the step: the way, the budget, the start, every proof of the run."""
    ways = [False, True] if again_from_base.has_base(run) else [False]
    again = st.segmented_control(
        "Training", ways, format_func=_WAYS.__getitem__, default=False, key=state.key("proof", run.id, "way"),
        required=True, label_visibility="collapsed",
    ) if len(ways) > 1 else False  # fmt: skip
    again = bool(again)
    start = partial(
        st.button, "Train again four times" if again else "Prove on a copy", key=state.key("prove"),
        icon=":material/science:",
    )  # fmt: skip
    try:
        proofs.need_models(run, again)
    except UserError as error:
        st.info(markup.md(f"Nothing can be trained here. {error}"), icon=":material/info:")
        start(disabled=True)
        made(run)
        return
    st.caption(_CAPTIONS[again])
    fields = {s.name: s for s in proofs.budget(again)}
    automatic = (
        {"batch": "as logged", "learning_rate": "as logged", "epochs": "as logged"}
        if again
        else {"steps": _steps(), "learning_rate": "automatic"}
    )
    key = f"proof-{run.id}{'-again' if again else ''}"
    boxes = st.columns(len(_SHOWN[again]))
    cost = forms.draw([fields[name] for name in _SHOWN[again]], key, boxes=boxes, automatic=automatic)
    with st.expander("More"):
        more = [s for n, s in fields.items() if n not in _SHOWN[again]]
        cost |= forms.draw(more, key, automatic=automatic)
    if start():
        asked = mitigation.request(run.id, selection, chosen.form.name, chosen.settings, chosen.uploads)
        proofs.start(asked, cost, again)
        st.rerun()
    made(run)


def made(run: Run) -> None:
    """Every proof of the run, newest first."""
    for proof in proofs.of_run(run.id):
        with st.container(border=True):
            _proof(run, proof)


def _steps() -> str:
    """What the field for steps says while it is empty: how many the recipe asks for, once a preview counted rows."""
    job = state.chosen("preview")
    result = jobs.get_job(job).result if job is not None else None
    if not result:
        return "automatic"
    batch = next(s.default for s in proofs.budget() if s.name == "batch")
    return f"automatic ({proofs.steps(result['training']['epochs'], result['total'], batch):,})"


def _proof(run: Run, proof: Proof) -> None:
    labels = {f.name: f.label for f in recipes.recipes()}
    selection = describe(from_query(proof.request["filter"], run.columns), run.columns, words.value)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.markdown(
            f"**{markup.md(labels.get(proof.recipe, proof.recipe))}**{_way(proof)} "
            f":gray[{markup.md(markup.line(selection, 90))} · {progress.when(proof.created)}]",
            width="stretch",
        )
        if st.button("Delete", key=state.key("proof", proof.id, "delete"), type="tertiary"):
            proofs.delete(proof.id)
            st.rerun()
    if proof.result is None:
        _under_way(proof)
        return
    _found(proof, labels)


def _way(proof: Proof) -> str:
    return ", trained again from the base" if proof.request.get("retrain") else ""


def _under_way(proof: Proof) -> None:
    if proof.job_id is None:
        return
    progress.ended(progress.watch(proof.job_id, "Waiting for the worker"))
    done = [_ARMS.get(name, name) for name in proof.arms]
    if done:
        st.caption(f"Stored so far: {', '.join(done)}. A stopped proof goes on with the arms that are missing.")


def _found(proof: Proof, labels: Mapping[str, str]) -> None:
    found = proof.result or {}
    shares, meaning, damage = proofs.in_words(proof)
    again = bool(proof.request.get("retrain"))
    st.markdown(f"**{(_AGAIN_MARKS if again else _MARKS)[found['outcome']]}**")
    st.markdown(markup.md(shares))
    st.markdown(markup.md(meaning))
    lost = found["arms"]["treatment"]["lost"]
    if lost is not None and lost["share"] > DAMAGE and not again:
        st.warning(
            markup.md(f"{damage} Mix in more of the other rows, or train for fewer steps."), icon=":material/warning:"
        )
    else:
        st.caption(markup.md(damage))
    other = labels.get(found.get("off_target_recipe", ""), "unknown")
    names = {
        "treatment": "This recipe",
        "again": "Unchanged data",
        "control": "Uniform repeat" if again else "Uniform mix",
        "off_target": f"Another cause's recipe: {other}",
    }
    rows = [
        (names[name], [("restored", arm["recovered"]), ("restored, with reworded prompts", arm["asked_otherwise"])])
        for name, arm in found["arms"].items()
    ]
    alt = "Share of the samples restored in each arm; the table below has the numbers"
    parts.chart(("proof", proof.id), charts.arms(rows), alt)
    with st.expander("Numbers"):
        tables.draw(_table(found, names), wrapped=True, key=state.key("proof", proof.id, "table"))
        for name, gap in found["against"].items():
            st.caption(
                markup.md(
                    f"Against {names[name].lower()}: {100 * gap['difference']:+.0f} points ({100 * gap['low']:+.0f} to "
                    f"{100 * gap['high']:+.0f}), paired over the same samples, 95% interval."
                )
            )
        budget = proof.request["budget"]
        facts = found["arms"]["treatment"]["training"]
        # Proofs of earlier versions do not say in which number type they were calculated.
        method = f"{facts['method']} in {facts['dtype']}" if "dtype" in facts else facts["method"]
        how = (
            f"{counted(budget['batch'], 'row')} per step, {method} at learning rate {facts['learning_rate']:g}"
            if "course" not in found
            else f"{method}: {'; '.join(found['course'])}"
        )
        took = jobs.duration(sum(arm["seconds"] for arm in found["arms"].values()))
        st.caption(
            markup.md(
                f"{counted(facts['steps'], 'step')} in each arm, {how}, {took} in all. "
                f"{counted(found['selected'], 'sample')} selected; {found['right_before']:,} of those drawn were "
                "already right and are not counted."
            )
        )


def _table(found: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "arm": names[name],
            "restored": _share(arm["recovered"]),
            "reworded prompts": _share(arm["asked_otherwise"]),
            **({"selected, not treated": _share(arm["aside"])} if arm.get("aside") else {}),
            "learned samples lost": _share(arm["lost"]),
            "of these, not in its mix": _share(arm.get("lost_outside")),
            "change in mean loss (nats)": _change(arm["loss"]),
            "change in mean loss of these samples": _change(arm["treated_loss"]),
        }
        for name, arm in found["arms"].items()
    ]


def _share(value: Mapping[str, float] | None) -> str:
    if value is None:
        return "not measured"
    return f"{value['k']:.0f} of {value['n']:.0f} ({value['share']:.0%}; {value['low']:.0%} to {value['high']:.0%})"


def _change(value: Mapping[str, float] | None) -> str:
    return "not measured" if value is None else f"{value['mean']:+.3f} ({value['low']:+.3f} to {value['high']:+.3f})"
