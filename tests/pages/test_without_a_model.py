"""Pages of runs that had no model: they open, and say what is not known."""

import json

import pytest

from core.__main__ import main
from core.intake import datasets
from core.plugins import kind
from core.recorded.recordings import digests
from core.rendering.tokenizers import open_tokenizer
from core.services import jobs, recipes
from tests.pages.conftest import at_data
from tests.pages.reading import button, links, words

PAGES = ("overview", "samples", "contradictions", "knowledge", "dynamics", "clusters", "mitigation", "review", "routes")


@pytest.fixture
def rows(tmp_path, tiny_project):
    path = tmp_path / "rows.jsonl"
    kept = [{**row, "source": ("books", "web")[i % 2]} for i, row in enumerate(tiny_project.rows[:12])]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
    return path


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    at_data(tmp_path / "data", monkeypatch)


@pytest.mark.slow
@pytest.mark.usefixtures("own_data")
def test_every_page_opens_on_a_dataset_alone(rows, open_page, tmp_path):
    assert main(["diagnose", "--data", str(rows), "--out", str(tmp_path / "out.jsonl")]) == 0
    for page in PAGES:
        at = open_page(page, run="1")
        assert not at.exception, (page, at.exception)
        # Groups and previews are made by a worker, and none runs here.
        assert [e.value for e in at.error if "No worker is running" not in e.value] == [], page
    said = words(open_page("overview", run="1"))
    assert "No model was given" in said and "Ship it" not in said and "No two rows contradict each other." in said
    at = open_page("samples", run="1", sample="0")
    assert not at.exception


@pytest.mark.slow
@pytest.mark.usefixtures("own_data")
def test_a_dataset_alone_leads_to_its_contradictions_and_says_nothing_of_learning(disputed, tmp_path, open_page):
    assert main(["diagnose", "--data", str(disputed), "--out", str(tmp_path / "out.jsonl")]) == 0
    at = open_page("overview", run="1")
    said = words(at)
    assert "In 1 group rows contradict each other." in said
    # Shares of a status that nothing says, and the thresholds of it, would look like a result.
    assert "10 samples" in said and "0.0%" not in said and "100.0%" not in said and not at.tabs
    assert "run 1 · no model" in said
    assert not [e for e in at.expander if "Thresholds" in e.label]
    assert links(at)["Contradictions (CSV)"] == "/api/runs/1/contradictions.csv"
    button(at, "Look at 1 group").click().run()
    at = open_page("contradictions", run="1")
    said = words(at)
    assert "Ennick" in said and "takes neither side" not in said and "is not measured" not in said
    assert "Contradictions (CSV)" in links(at)
    at = open_page("mitigation", run="1", contradiction="0.5..")
    recipe = next(s for s in at.selectbox if s.label == "Recipe")
    assert recipe.value == recipes.recipe_for("data_inconsistency")
    # A list of what was not learned would be empty, and no row is known to be learned.
    assert "Work list (CSV)" not in links(open_page("samples", run="1"))
    at = open_page("routes", run="1")
    assert "No model was given" in words(at) and not [b for b in at.button if b.label == "Run both routes"]
    for page in ("review", "clusters"):
        assert "No model was given" in words(open_page(page, run="1")), page
    assert not [job for job in jobs.list_jobs() if job.kind == "cluster"]
    said = words(open_page("start"))
    assert "10 samples, no model" in said and "not learned" not in said


@pytest.mark.usefixtures("own_data")
def test_the_rows_behind_a_spike_are_named(rows, open_page, tmp_path, tiny_project):
    tokenizer = open_tokenizer(str(tiny_project.base))
    samples = [s for s in datasets.read([rows], datasets.scan([rows]).reading) if hasattr(s, "messages")]
    lines = []
    for epoch in (0, 1):
        for i, sample in enumerate(samples):
            seen = kind("presets", "custom").supervise(sample, tokenizer, {}, None)
            whole, ids = digests(seen.ids, seen.trained)
            n, step = int(seen.trained[1:].sum()), epoch * 4 + i // 3 + 1
            loss = 9.0 if (epoch, i) == (1, 4) else 2.0 - epoch
            lines.append({"step": step, "epoch": epoch, "rank": 0, "source": None, "row": whole, "ids": ids,
                          "loss": loss, "tokens": n, "right": n if epoch else 0, "worst": loss})  # fmt: skip
    recording = tmp_path / "rank0.jsonl"
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    status = main(["diagnose", "--data", str(rows), "--recording", str(recording), "--tokenizer",
                   str(tiny_project.base), "--out", str(tmp_path / "out.jsonl")])  # fmt: skip
    assert status == 0
    at = open_page("dynamics", run="1")
    assert not at.exception and not at.error
    behind = next(d.value for d in at.dataframe if "loss" in d.value.columns)
    assert len(behind) == 3 and behind["loss"].iloc[0] == 9.0  # the step with the highest mean stands first
    assert behind["id"].iloc[0] == samples[4].id
    said = words(at)
    assert "took part in step 6" in said and "Recorded loss by source" in said
    figures = [json.loads(e.proto.spec) for e in at.get("plotly_chart")]
    sources = next(f for f in figures if {t.get("name") for t in f["data"]} == {"books", "web"})
    assert all(len(t["x"]) == 2 for t in sources["data"])
