"""Every page of the demo that ships has something true to show, from the bundles alone."""

import re
from dataclasses import replace

import pytest

from core.services import demo, runs
from core.services.bundles import open_bundle
from core.services.routes import runs as routes
from tests.pages.reading import button, words
from ui import proving

# Page to what it says where it is filled, with numbers that are not zero.
FILLED = {
    "start": "One verdict of [1-9]",
    "overview": "Of [1-9][0-9]* samples not learned",
    "samples": "[1-9][0-9]* of [1-9][0-9]* samples",
    "clusters": "[1-9][0-9]* groups with [1-9]",
    "contradictions": "[1-9][0-9]* groups",
    "knowledge": "target is not the base's own answer: [1-9]",
    "dynamics": "Share learned over the whole order: (rises|falls)",
    "mitigation": "[1-9][0-9]* of [1-9][0-9]* samples",
    "routes": "[1-9][0-9]* of [1-9][0-9]* items",
    "compare": "[1-9][0-9]* samples matched",
    "review": "Doubt (0.[0-9]+|1.00); [1-9][0-9]* unlearned rows",
}
EMPTY = ("has a trainer_state.json", "not measured yet", "no second run", "Measured by other versions")


@pytest.fixture
def opened(empty_data):
    """The run of the demo's fine-tune."""
    for bundle in reversed(demo.shipped()):
        open_bundle(bundle)
    return runs.list_runs()[0]


@pytest.mark.parametrize("page", FILLED)
def test_a_page_of_the_demo_shows_something(opened, open_page, page):
    query = {} if page == "start" else {"run": str(opened.id)}
    if page == "compare":
        query["other"] = str(runs.list_runs()[1].id)
    if page == "routes":
        query["routes"] = str(routes.list_routes(opened.id)[0].id)
    at = open_page(page, **query)
    assert not at.exception and not at.error
    said = words(at)
    assert re.search(FILLED[page], said), said[:2000]
    older = runs.older_measurements(opened)
    assert [text for text in EMPTY if text in said and not (older and text == EMPTY[-1])] == []


def test_a_run_without_its_checkpoint_offers_no_training(opened, open_page, monkeypatch):
    """It came as a bundle, or its folder is gone: the button says what there would be, the words beside it why not."""
    at = open_page("mitigation", run=str(opened.id), cause="base_conflict")
    assert button(at, "Prove on a copy").disabled and not at.error
    assert "Nothing can be trained here" in words(at) and "diagnose the checkpoint here" in words(at)
    drawn, gone = proving.draw, replace(opened.spec.final, path="/gone/final")
    monkeypatch.setattr(
        proving, "draw", lambda run, *rest: drawn(replace(run, spec=replace(run.spec, origin="", final=gone)), *rest)
    )
    at = open_page("mitigation", run=str(opened.id), cause="base_conflict")
    assert button(at, "Prove on a copy").disabled
    assert "There is no folder /gone/final on this machine" in words(at)
    next(c for c in at.segmented_control if c.label == "Training").set_value(True)
    at.run()
    assert button(at, "Train again four times").disabled and not at.exception
