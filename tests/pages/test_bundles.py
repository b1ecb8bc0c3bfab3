"""Bundles on the pages: made on the overview, opened on the start page, and marked as such."""

from core.services import bundles, jobs, runs, uploads
from tests.pages.reading import button, words


def test_make_a_bundle_and_open_it(trajectory_data, open_page, work):
    at = open_page("overview", run="1")
    assert not at.exception
    button(at, "Make a bundle").click()
    at.run()
    work()
    job = next(j for j in jobs.list_jobs() if j.kind == "write_bundle")
    assert job.state == "done", job.error
    data = bundles.written_file(job.id).read_bytes()
    at.run()
    assert not at.exception and not at.error
    runs.delete_run(1)
    upload = uploads.begin("run.lacuna", len(data))
    with uploads.open_writer(upload) as writer:
        writer.write(data)
    opened = bundles.start_open(upload)
    work()
    run_id = jobs.get_job(opened).result["run"]
    assert run_id == 2, "an id is never used twice"
    for page in ("overview", "samples", "dynamics", "review"):
        at = open_page(page, run=str(run_id))
        assert not at.exception and not at.error, page
        assert "measuring again needs the checkpoint" in words(at), page


def test_the_start_page_opens_bundles(empty_data, open_page):
    at = open_page("start")
    assert not at.exception
    assert "Open a bundle" in [e.label for e in at.expander]
