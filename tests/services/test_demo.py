"""The demo that ships: it opens in this version, also once its signals are of an older one."""

import zipfile

import pytest

from core.causes import ordered_causes
from core.errors import UserError
from core.filters import from_query
from core.plugins import kinds
from core.services import bundles, demo, jobs, judging, runs, samples
from core.types import Filter
from core.worker.here import run_here
from db import signals as signal_table
from db.session import database

MOST_BYTES = 5_000_000


@pytest.fixture
def opened(elsewhere):
    elsewhere()
    demo.open_if_wanted()
    what, number = demo.state()
    assert what == "ready"
    return runs.get_run(number)


def test_the_first_start_opens_the_demo_and_no_later_one_does(opened):
    assert opened.n_samples > 200 and opened.summary["status"]["learned"] > 50
    assert runs.list_runs()[0].id == opened.id, "the fine-tune stands first"
    for run in runs.list_runs():
        runs.delete_run(run.id)
    assert demo.state() == ("off", None)
    job = demo.start()
    assert demo.start() == job and demo.state() == ("opening", job)
    demo.open_if_wanted()
    assert runs.list_runs() == [], "who deleted it does not get it back unasked"
    assert run_here(job)["run"] == demo.state()[1]


def test_every_cause_of_the_study_occurs_and_has_its_evidence(opened):
    for cause in ordered_causes()[:5]:
        rows = samples.page(opened.id, from_query(f"cause={cause.name}", opened.columns), None, 50).rows
        assert len(rows) >= 5, cause.name
        view = samples.sample(opened.id, rows[0]["sid"], Filter())
        assert view.pieces, "its tokens came along"


def test_the_bundles_are_small_and_name_no_folder_and_no_machine():
    for path in demo.shipped():
        assert path.stat().st_size < MOST_BYTES
        with zipfile.ZipFile(path) as archive:
            text = b"".join(archive.read(n) for n in archive.namelist() if n.endswith((".jsonl", "bundle.json")))
        for mark in (b'"/', b"/home/", b"/root", b"/tmp/", b"/work"):
            assert mark not in text, mark


def test_a_demo_of_older_signals_opens_for_reading_and_says_so(elsewhere, monkeypatch):
    monkeypatch.setattr(type(kinds("signals")["answers"]), "version", 99)
    elsewhere()
    demo.open_if_wanted()
    run = runs.get_run(demo.state()[1])
    (words,) = {w for w in runs.older_measurements(run) if "(answers)" in w}
    assert "here it is version 99" in words
    (row,) = samples.page(run.id, from_query("status=unlearned", run.columns), None, 1).rows
    assert any(turn.output for turn in samples.sample(run.id, row["sid"], Filter()).turns), "it is still read"
    with pytest.raises(UserError, match="can be read, but not judged anew"):
        judging.start_rejudge(run.id, run.thresholds)
    assert not jobs.list_jobs()


def test_of_several_older_measurements_the_newest_is_read(opened, monkeypatch, tmp_path):
    there = kinds("signals")["answers"].version
    with database().writing() as conn:
        for version in (there - 1, there - 2):  # as a run leaves them that was diagnosed again by a newer Lacuna
            spec = {"signal": "answers", "version": version}
            made = signal_table.measure_id(conn, f"answers:{version}", "answers", opened.spec.final.fingerprint, spec)
            signal_table.link_run(conn, opened.id, [made])
    bundle = bundles.write(opened.id, tmp_path / "again.lacuna").path
    monkeypatch.setattr(type(kinds("signals")["answers"]), "version", 99)
    run = bundles.open_bundle(bundle)
    assert [w for w in runs.older_measurements(run) if f"version {there}" in w]
    (row,) = samples.page(run.id, from_query("status=unlearned", run.columns), None, 1).rows
    assert any(turn.output for turn in samples.sample(run.id, row["sid"], Filter()).turns)
