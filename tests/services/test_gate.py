"""The gate: a finished run against limits, from the command line as CI calls it."""

from xml.etree import ElementTree as xml

import pytest

from core.__main__ import main
from core.services import gate, people, runs
from core.types import Filter


@pytest.fixture
def command(capsys):
    def run(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return run


def test_a_finished_run_is_held_to_its_limits(along_run, command, tmp_path):
    n = along_run.summary["status"]["unlearned"]
    asked = ("gate", 1, "--junit", tmp_path / "out" / "junit.xml", "--summary", tmp_path / "summary.md")
    status, out, _ = command(*asked, "--fail-if", f"unlearned>{n}", "--fail-if", "learned<0.01")
    assert (status, out.splitlines()[0]) == (0, f"pass unlearned>{n}: {n} of {along_run.n_samples} samples")
    status, out, _ = command(*asked, "--fail-if", f"unlearned>={n}", "--fail-if", "faults>100")
    assert status == 3
    assert [line.split(":")[0] for line in out.splitlines()] == [f"FAIL unlearned>={n}", "pass faults>100"]
    suite = xml.fromstring((tmp_path / "out" / "junit.xml").read_bytes())[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    summary = (tmp_path / "summary.md").read_text()
    assert summary.count("## Lacuna:") == 2, "a CI page gathers the summaries of all steps"
    assert "**failed**" in summary
    status, out, _ = command("gate", 1, "--fail-if", "learned>0", "--filter", "status=unlearned")
    assert (status, out) == (0, f"pass learned>0: 0 of {n} samples\n")


def test_reviews_count_where_the_filter_says_so(along_run):
    limit = gate.limit("learned<1.0")
    before = gate.hold(1, [limit])[0].count
    sid = next(iter(people_rows(along_run)))
    people.override(1, sid, "learned", None, "Ada", "Right.")
    from core.filters import from_query

    assert gate.hold(1, [limit], from_query("judged=people", along_run.columns))[0].count == before + 1
    assert gate.hold(1, [limit])[0].count == before


def people_rows(run):
    from core.services import samples
    from core.types import Term

    chosen = Filter((Term("status", "in", ("unlearned",)),))
    return [r["sid"] for r in samples.page(run.id, chosen, None, 5).rows]


def test_a_cause_that_was_not_judged_passes_no_gate(final_run, command):
    status, out, _ = command("gate", 1, "--fail-if", "cause:base_conflict>1000000")
    assert status == 3
    assert out.startswith("UNKNOWN cause:base_conflict>1000000: not judged in this run, which lacks the model before")


def test_a_bad_limit_is_refused_before_any_file_is_read(command, tmp_path):
    (tmp_path / "x.jsonl").write_text("no row at all")
    asked = ("diagnose", "--dataset", tmp_path / "x.jsonl", "--checkpoint", tmp_path, "--fail-if", "unlearnt>0.1")
    status, out, err = command(*asked)
    assert (status, out) == (2, "")
    assert "no limit named 'unlearnt'" in err and "not_learned" in err and "Did you mean 'unlearned'" in err
    assert runs.list_runs() == []


def test_a_diagnosis_ends_with_the_gate(stored_final, tiny_project, command, tmp_path):
    asked = ("diagnose", "--dataset", tiny_project.dataset, "--checkpoint", tiny_project.final, "--max-new-tokens", 48,
             "--out", tmp_path / "v.jsonl")  # fmt: skip
    status, out, err = command(*asked, "--fail-if", "learned>0", "--fail-if", "rejected>0")
    assert (status, out) == (3, "")
    assert "FAIL learned>0: " in err and "pass rejected>0: 0 of" in err
    assert (tmp_path / "v.jsonl").exists()
    assert command("gate", 99, "--fail-if", "learned>0")[0] == 2
