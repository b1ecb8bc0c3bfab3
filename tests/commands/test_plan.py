"""``lacuna plan`` says what a diagnosis would measure, and measures nothing."""

import json

from core.__main__ import main
from core.services import datasets, runs
from core.signals._plan import plan
from tests.services.conftest import import_files, run_diagnosis


def test_a_plan_names_every_measurement_and_leaves_nothing_behind(tiny_project, capsys, tmp_path):
    rows = tmp_path / "six.jsonl"
    rows.write_bytes(b"".join(tiny_project.dataset.read_bytes().splitlines(keepends=True)[:6]))
    asked = ["plan", "--dataset", str(rows), "--checkpoint", str(tiny_project.final), "--max-new-tokens", "8"]
    assert main(asked) == 0
    out = capsys.readouterr().out
    assert out.startswith("6 samples, ")
    assert "About" in out.splitlines()[-1] and "to score 6 samples" in out
    assert "after likelihood" in out
    assert (datasets.list_datasets(), runs.list_runs()) == ([], [])
    run = run_diagnosis(import_files([rows], "six"), tiny_project.final, max_new_tokens=8)
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [s["signal"] for s in found["steps"]] == [m.signal for m in plan(run.spec)]
    assert found["steps"][0]["stored"] == 6
    assert found["estimate"]["low"] <= found["estimate"]["high"]
    assert len(datasets.list_datasets()) == 1, "a dataset that was there stays"
