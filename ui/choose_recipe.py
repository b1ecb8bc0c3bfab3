"""Step 2 of a mitigation: what to do with the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.services import recipes, uploads
from core.services.causes import look as cause_look
from core.types import Filter, Run
from ui import forms, markup, selecting, state
from ui.uploader import uploader

# The flag of samples that a chain of thought reaches: it has a recipe as a cause has.
_REACHED = "reachable_by_reasoning"
# Conditions that only rows of a contradiction pass, whether or not a cause is judged.
_DISPUTED = ("group", "contradiction")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as it was filled in. ``uploads``: file slot to the id of an upload."""

    form: recipes.Recipe
    settings: dict[str, Any]
    uploads: dict[str, str]


def draw(run: Run, selection: Filter) -> Recipe:
    """Draw the step; return what was chosen."""
    offered = {f.name: f for f in recipes.recipes()}
    causes = [c for c in selecting.values_of(selection, "cause") if c is not None]
    fitting = recipes.recipe_for(causes[0]) if len(causes) == 1 else None
    if list(selecting.values_of(selection, _REACHED)) == [1]:
        causes, fitting = [_REACHED], recipes.recipe_for(_REACHED)
    if not causes and any(t.column in _DISPUTED for t in selection.terms):
        fitting = recipes.recipe_for("data_inconsistency")
    words = {n: form.label + (" (made for these)" if n == fitting else "") for n, form in offered.items()}
    # The cause is in the key: another cause begins with its own recipe, and a choice against it stays.
    key = state.key("mitigate", "recipe", run.id, *causes)
    name = forms.choose(st, "Recipe", words, key, fitting if fitting in words else next(iter(words)))
    form = offered[name]
    st.caption(markup.md(form.help))
    if causes and name != fitting:
        made_for = " and ".join(_made_for(c) for c in form.causes)
        st.caption(f":material/info: Made for {markup.md(made_for)}; a proof tells whether it helps here.")
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        settings = forms.draw(form.settings, f"recipe-{run.id}-{form.name}")
        given = {slot.name: upload for slot in form.files if (upload := _file(run, form, slot)) is not None}
    with right:
        st.markdown("**What should get better**")
        st.markdown(markup.md(form.expects))
        st.markdown("**What may get worse**")
        st.markdown("\n".join(f"- {markup.md(risk)}" for risk in form.risks))
    return Recipe(form, settings, given)


def _made_for(cause: str) -> str:
    return "what only reasoning reaches" if cause == _REACHED else cause_look(cause).label.lower()


def _file(run: Run, form: recipes.Recipe, slot: recipes.FileSlot) -> str | None:
    """The upload in a file slot, with a way to add and to remove it."""
    key = state.key("mitigate", "file", run.id, form.name, slot.name)
    held = state.get(key)
    if held is None:
        finished = uploader(slot.label, slot.help, key=f"{key}:upload", accept=(".jsonl", ".txt", ".md"))
        if finished:
            state.put(key, finished[0])
            st.rerun()
        return None
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/description: {markup.md(slot.label)}: **{markup.md(held['name'])}**", width="content")
        if st.button("Remove", key=f"{key}:remove", type="tertiary"):
            uploads.discard(held["id"])
            state.drop(key)
            st.rerun()
    return str(held["id"])
