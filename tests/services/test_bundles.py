"""A run goes out as one file and opens in an empty store with every number that it had."""

import gzip
import json
import zipfile
from dataclasses import asdict, replace

import pytest

from core.__main__ import main
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.filters import from_query
from core.proof.copies import usual_rate
from core.services import (
    artefacts,
    bundles,
    clusters,
    contradictions,
    datasets,
    decision,
    demo,
    dynamics,
    exports,
    jobs,
    judging,
    knowledge,
    labels,
    mitigation,
    people,
    proofs,
    report,
    results,
    review,
    runs,
    samples,
    storage,
)
from core.services.routes import board
from core.services.routes import runs as routes
from core.settings import settings
from core.signals._plan import plan
from core.types import Filter, Thresholds
from core.worker import supervisor
from core.worker.here import run_here
from db import proofs as proof_table
from db import routes as route_table
from db.session import database
from tests.bundles.test_files import changed, listed
from ui import progress

ALL = Filter()
ROUTES = RouteSettings(m=2, k=1, direct_tokens=4, path_tokens=4, normaliser="numeric")


def fill(run):
    """What people and later work add to a run: groups, a pick, a review, tags, a decision, a routes run, a proof."""
    run_here(clusters.request(run.id))
    unlearned = [r["sid"] for r in samples.page(run.id, from_query("status=unlearned", run.columns), None, 9).rows]
    people.override(run.id, unlearned[0], "learned", None, "Ada", "Right, in other words. 犬 \u202e")
    people.add_tags(run.id, unlearned[:3], ["hard"], "Ada")
    clusters.pick(run.id, [1, 3])
    group = contradictions.groups(run.id, ALL).groups[0]
    contradictions.decide(run.id, group.number, "drop", (), "Ada", "Neither.")
    _, job = routes.start_for_run(run.id, from_query("status=unlearned", run.columns), ROUTES, limit=2)
    run_here(job)
    with database().writing() as conn:
        proof_table.add(conn, run.id, "base_conflict", "base_conflict", {"run": run.id, "filter": ""})


def plain(value, text=""):
    """A view as text, without what names this store: ids of runs and routes, the bundle's own marks."""
    return json.dumps(value, default=lambda v: asdict(v) if hasattr(v, "__dataclass_fields__") else repr(v))


def figures(run):
    """Everything that the pages of a run draw."""
    sids = [line["id"] for line in map(json.loads, exports.verdict_lines(run.id))]
    views = [samples.sample(run.id, sid, ALL) for sid in sids]
    board_of = routes.list_routes(run.id)[0]
    with database().reading() as conn:
        asked = [item["ordinal"] for item in route_table.items(conn, board_of.id)]
    picked = from_query("picked=1", run.columns)
    return {
        "overview": plain(results.overview(run.id, ALL)),
        "gains": plain(decision.gains(run.id, results.overview(run.id, ALL).causes)),
        "facets": plain(results.facets(run.id, from_query("judged=people", run.columns))),
        "table": plain(samples.page(run.id, from_query("sort=-nll", run.columns), None, 100)),
        "samples": [plain(replace(v, sample=replace(v.sample, raw=b""))) for v in views],
        "raw": [v.sample.raw for v in views],
        "near": plain([contradictions.neighbours(run.id, v.sample.content_hash) for v in views]),
        "groups": plain(clusters.grouping(run.id, ALL)),
        "map": plain(clusters.points(run.id, ALL)),
        "picked": [r["sid"] for r in samples.page(run.id, picked, None, 9).rows],
        "dynamics": plain(dynamics.dynamics(run.id, ALL)),
        "contradictions": plain(contradictions.groups(run.id, ALL)),
        "decisions": b"".join(contradictions.decision_lines(run.id)),
        "knowledge": plain(knowledge.summary(run.id, ALL)),
        "known": [plain(knowledge.sample(run.id, sid)) for sid in sids],
        "labels": b"".join(labels.lines(run.id)),
        "verdicts": b"".join(exports.verdict_lines(run.id)),
        "queue": plain(review.queue(run.id)),
        "agreement": plain(people.agreement(run.id)),
        "board": plain(board.board(board_of.id, board.choice(board_of, {}))),
        "items": [plain(board.item(board_of.id, i, board.choice(board_of, {}))) for i in asked],
        "proofs": [(p.recipe, p.cause, p.request["filter"]) for p in proofs.of_run(run.id)],
        "rejected": plain(datasets.problems(run.spec.dataset_id)),
        "run": (run.name, run.summary["status"], run.spec.hash, run.created, plain(run.columns)),
    }


@pytest.mark.slow
def test_every_number_of_every_page_arrives(along_run, elsewhere, tmp_path, capsys):
    fill(along_run)
    before = figures(runs.get_run(1))
    assert main(["bundle", "1", "--out", str(tmp_path / "run.lacuna")]) == 0
    assert (tmp_path / "run.lacuna").stat().st_size < 1_000_000
    elsewhere()
    assert main(["open", str(tmp_path / "run.lacuna")]) == 0
    assert capsys.readouterr().out == f"run 1: {along_run.name}\n"
    run = runs.get_run(1)
    after = figures(run)
    assert {name for name in before if before[name] != after[name]} == set()
    assert run.summary["bundle"]["lacuna"]
    # Out of the new store and in again: nothing is lost on the second way.
    bundles.write(1, tmp_path / "again.lacuna")
    elsewhere("third")
    third = figures(bundles.open_bundle(tmp_path / "again.lacuna"))
    assert {name for name in before if before[name] != third[name]} == set()


@pytest.fixture
def bundle(final_run, tmp_path):
    path = tmp_path / "run.lacuna"
    bundles.write(final_run.id, path)
    return path


def test_a_bundle_is_opened_once_and_beside_what_is_there(final_run, bundle):
    own = b"".join(exports.verdict_lines(final_run.id))
    run = bundles.open_bundle(bundle)
    assert (run.id, bundles.open_bundle(bundle).id, len(runs.list_runs())) == (2, 2, 2)
    assert b"".join(exports.verdict_lines(2)) == own
    # What came in is kept apart: no later measurement here is taken from a stranger's file.
    assert not {m.key for m in plan(run.spec)} & {m.key for m in plan(final_run.spec)}
    assert datasets.get_dataset(run.spec.dataset_id).fingerprint != final_run.spec.dataset_fingerprint
    people.override(2, json.loads(own.splitlines()[0])["id"], "unknown", None, "Bo", "Only here.")
    runs.delete_run(2)
    assert b"".join(exports.verdict_lines(final_run.id)) == own
    assert samples.sample(1, json.loads(own.splitlines()[0])["id"], ALL).pieces, "its artefacts stay"


def test_what_needs_the_checkpoint_says_so_and_the_rest_works(bundle, elsewhere, tmp_path):
    elsewhere()
    run = bundles.open_bundle(bundle)
    chosen = from_query("status=unlearned", run.columns)
    request = mitigation.request(run.id, chosen, "under_optimised", {}, {})
    with pytest.raises(UserError, match="came as a bundle: measuring again needs the checkpoint"):
        proofs.start(request, {})
    with pytest.raises(UserError, match="came as a bundle"):
        routes.start_for_run(run.id, chosen, ROUTES)
    with pytest.raises(UserError, match="came as a bundle"):
        run_here(runs.start(run)[1])
    assert mitigation.export(run.id, chosen, "under_optimised", {}, tmp_path / "out", {}, lambda *_: None).files
    assert len(report.report(run.id)) < 3_000_000


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_an_export_that_goes_on_names_no_folder_of_another_machine(elsewhere, tmp_path, monkeypatch, adapter):
    """Training there would fail, or go on from what happens to lie at that path here."""
    elsewhere()
    run = bundles.open_bundle(demo.shipped()[0])
    theirs = tmp_path / "theirs"
    final = replace(run.spec.final, path=str(theirs / "final"), base=str(theirs / "base") if adapter else None)
    odd = replace(run, spec=replace(run.spec, final=final))
    monkeypatch.setattr(mitigation, "get_run", lambda run_id: odd)
    chosen, out = from_query("status=unlearned", run.columns), tmp_path / "out"
    written = mitigation.export(run.id, chosen, "under_optimised", {}, out, {}, lambda *_: None)
    notes = [note for note in written.manifest["notes"] if "path/to/your" in note]
    assert len(notes) == 1 + adapter
    for name in ("trl", "llama_factory", "axolotl"):
        text = (out / f"{name}.yaml").read_text()
        assert str(theirs) not in text and "path/to/your/model" in text
        assert ("path/to/your/base" in text) is adapter
        assert all(note in text for note in notes)


def test_training_again_from_a_bundle_takes_the_rate_by_the_size_that_the_run_recorded(elsewhere, tmp_path):
    elsewhere()
    run = bundles.open_bundle(demo.shipped()[0])
    chosen = from_query("status=unlearned", run.columns)

    def starts_from(method):
        written = mitigation.export(
            run.id, chosen, "under_optimised", {}, tmp_path / "out", {}, lambda *_: None, {"method": method}
        )
        return written.manifest["starts_from"]

    size = run.summary["card"]["facts"]["parameters"]
    assert 10_000_000 < size < 200_000_000
    for method in ("full", "lora"):
        found = starts_from(method)
        assert found["learning_rate"] == usual_rate(size, method)
        assert any("by method and size of the model" in words for words in found["course"])


def lines_of(members, table):
    return [json.loads(line) for line in members[f"tables/{table}.jsonl"].splitlines()]


def rewritten(table, change):
    """A change to the first row of a table, with its hash made right: a liar's file, not a broken one."""

    def do(members):
        rows = lines_of(members, table)
        change(rows[0])
        listed(members, f"tables/{table}.jsonl", b"".join(json.dumps(r).encode() + b"\n" for r in rows))

    return do


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("runs", lambda r: r["spec"].update(preset="../../evil")),
        ("runs", lambda r: r["spec"].update(more=1)),
        ("runs", lambda r: r["spec"]["final"].update(path=7)),
        ("runs", lambda r: r["columns"][0].update(name="x; DROP TABLE runs")),
        ("runs", lambda r: r["columns"][0].update(kind="blob")),
        ("runs", lambda r: r.update(columns=r["columns"] * 20)),
        ("runs", lambda r: r.update(n_samples=10**9)),
        ("runs", lambda r: r.update(summary=[1])),
        ("runs", lambda r: r.update(thresholds={"unlearned_below": "low"})),
        ("datasets", lambda r: r.update(files=None, name=None)),
        ("datasets", lambda r: r.pop("name")),
        ("samples", lambda r: r.update(ordinal="0")),
        ("samples", lambda r: r.update(ordinal=1)),
        ("samples", lambda r: r.update(ordinal=2**70)),
        ("samples", lambda r: r.update(sid="\ud800")),
        ("sample_bodies", lambda r: r.update(raw="not base64!")),
        ("verdicts", lambda r: r.update(status="<script>")),
        ("verdicts", lambda r: r.update(nll="low")),
        ("measures", lambda r: r.update(spec=None)),
        ("measures", lambda r: r.update(artefact="0" * 64 + ".json.gz")),
        ("measures", lambda r: r.update(signal=["likelihood"])),
        ("measures", lambda r: r.pop("fingerprint")),
        ("measured", lambda r: r.update(measure_id=10**6)),
        ("measured", lambda r: r.update(artefact="../../../etc/passwd")),
        ("measured", lambda r: r.update(slot=2**62)),
        ("measured", lambda r: r.update(slot=-1)),
        ("measured", lambda r: r.update(slot=None)),
        ("measured", lambda r: r.update(columns="5")),
        ("sample_bodies", lambda r: r.update(body="[")),
        ("samples", lambda r: r.update(ordinal=r["ordinal"] - 2**62)),
        ("verdicts", lambda r: r.update(ordinal=-1)),
        ("verdicts", lambda r: r.update(ordinal=10**6)),
        ("datasets", lambda r: r.update(reading=5)),
        ("datasets", lambda r: r["reading"].update(more="x")),
        ("datasets", lambda r: r.update(notes=5)),
        ("datasets", lambda r: r.update(files=[1])),
        ("datasets", lambda r: r.update(stages=None)),
        ("datasets", lambda r: r.update(created=1e300)),
        ("datasets", lambda r: r.update(created=-1)),
        ("datasets", lambda r: r.update(n_samples=10**9)),
        ("runs", lambda r: r.update(created=1e300)),
        ("runs", lambda r: r["summary"].update(status=[1])),
        ("runs", lambda r: r["summary"].update(status={"unlearned": "x"})),
        ("runs", lambda r: r["summary"].update(notes=5)),
        ("runs", lambda r: r["summary"].update(losses=[[1, "x"]])),
        ("runs", lambda r: r["summary"].update(card={"checks": [5]})),
        ("runs", lambda r: r["spec"].update(versions=[1])),
        ("runs", lambda r: r["spec"].update(trajectory=[5])),
        ("runs", lambda r: r["spec"].update(preset_settings=[1])),
        ("runs", lambda r: r.update(thresholds={"unlearned_below": 1e400})),
    ],
)  # fmt: skip
def test_a_liar_s_bundle_changes_nothing(bundle, elsewhere, tmp_path, table, change):
    bad = changed(bundle, tmp_path / "bad.lacuna", rewritten(table, change))
    elsewhere()
    with pytest.raises(UserError, match="cannot be opened by this version"):
        bundles.open_bundle(bad)
    assert (runs.list_runs(), datasets.list_datasets()) == ([], [])
    assert [p for p in settings().artefacts.rglob("*") if p.is_file()] == []


def adding(table, row):
    """Puts a first row into a table that the bundle has empty."""

    def do(members):
        listed(members, f"tables/{table}.jsonl", json.dumps(row).encode() + b"\n")
        named = json.loads(members["bundle.json"])
        named["tables"][table] = 1
        members["bundle.json"] = json.dumps(named).encode()

    return do


CHECKPOINT = {"path": "/x", "base": None, "step": None, "label": "x", "fingerprint": "f", "tokenizer": "auto"}
SOURCE = {"kind": "run", "filter": "", "words": "all", "matching": 1}
LABELS = {"id": 1, "run_id": 1, "name": "n", "author": "a", "changes": [], "created": 1.0, "undone": None}


def route(**changes):
    spec = {"checkpoint": CHECKPOINT, "settings": ROUTES.as_dict(), "source": SOURCE, "scorer": None, "versions": {}}
    row = {"id": 1, "run_id": 1, "name": "r", "mode": "answering", "n_items": 0, "scorer_id": None, "version": 0}
    return row | {"created": 1.0, "spec": spec | changes}


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("routes", route() | {"spec": [1]}),
        ("routes", route() | {"spec": {}}),
        ("routes", route() | {"mode": "judging"}),
        ("routes", route(source="x")),
        ("routes", route(source={"upload": [1]})),
        ("routes", route(source={})),
        ("routes", route(checkpoint="x")),
        ("routes", route(checkpoint=CHECKPOINT | {"path": 5})),
        ("routes", route(settings={"m": "2"})),
        ("routes", route(settings={"m": 10**6})),
        ("routes", route(settings={"more": 1})),
        ("routes", route(settings={"choose": []})),
        ("label_files", LABELS | {"changes": 5}),
        ("label_files", LABELS | {"changes": [{"ordinal": "0"}]}),
        ("label_files", LABELS | {"undone": 1e300}),
        ("tags", {"run_id": 1, "ordinal": -(2**62), "tag": "t", "author": "a", "created": 1.0}),
        ("tags", {"run_id": 1, "ordinal": 10**6, "tag": "t", "author": "a", "created": 1.0}),
    ],
)  # fmt: skip
def test_a_row_that_no_page_could_read_is_refused(bundle, elsewhere, tmp_path, table, row):
    bad = changed(bundle, tmp_path / "bad.lacuna", adding(table, row))
    elsewhere()
    with pytest.raises(UserError, match="cannot be opened by this version"):
        bundles.open_bundle(bad)
    assert (runs.list_runs(), routes.list_routes(), storage.sweep()) == ([], [], [])


def test_a_bundle_names_no_file_that_deleting_would_reach(bundle, elsewhere, tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("precious")
    for name in (f"../../../../../../../..{victim}", str(victim)):
        row = route(source=SOURCE | {"artefact": name, "upload": "u", "path": str(victim)})
        liar = changed(bundle, tmp_path / "liar.lacuna", adding("routes", row))
        elsewhere(f"store-{len(name)}")
        run = bundles.open_bundle(liar)
        (found,) = routes.list_routes(run.id)
        assert found.source == SOURCE
        jobs.cancel_job(routes.delete(found.id))
        runs.delete_run(run.id)
        with pytest.raises(ValueError, match="is no artefact"):
            artefacts.path(name)
        artefacts.remove([name])
        assert victim.read_text() == "precious"


def test_texts_that_another_run_names_too_outlive_the_bundle_s_run(final_run, bundle, tmp_path):
    """Its routes items may name any artefact of the file, and equal content is one file here."""
    with zipfile.ZipFile(bundle) as archive:
        measured = lines_of({n: archive.read(n) for n in archive.namelist()}, "measured")
    name = next(r["artefact"] for r in measured if r["artefact"])
    item = {"route_id": 1, "ordinal": 0, "sid": "s", "content_hash": "h", "question": "q", "kept": "{}"}
    items = adding("route_items", item | {"artefact": name, "slot": 0})
    liar = changed(bundle, tmp_path / "one.lacuna", adding("routes", route()))
    run = bundles.open_bundle(changed(liar, tmp_path / "two.lacuna", items))
    jobs.cancel_job(routes.delete(routes.list_routes(run.id)[0].id))
    assert artefacts.path(name).exists()
    runs.delete_run(run.id)
    again = bundles.open_bundle(changed(liar, tmp_path / "two.lacuna", items))
    runs.delete_run(again.id)
    assert artefacts.path(name).exists()


def test_the_training_log_of_a_bundle_is_not_looked_for_here(bundle, elsewhere, tmp_path):
    state = {"log_history": [{"step": 1, "loss": 0.5}], "global_step": 1}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    here = rewritten("runs", lambda r: r["spec"]["final"].update(path=str(tmp_path)))
    liar = changed(bundle, tmp_path / "liar.lacuna", here)
    elsewhere()
    run = bundles.open_bundle(liar)
    assert run.spec.final.path == str(tmp_path)
    assert (1, 0.5) not in dynamics.losses(run)


def test_a_start_outlives_a_failing_sweep(monkeypatch, elsewhere, caplog):
    elsewhere()
    monkeypatch.setenv("LACUNA_DEMO", "0")
    settings.cache_clear()

    def fails():
        raise AttributeError("a row that nobody can read")

    monkeypatch.setattr(supervisor.storage, "sweep", fails)
    supervisor._open()
    assert "tidying failed" in caplog.text


def test_a_time_that_no_clock_shows_is_left_out():
    assert [progress.when(t) for t in (1e300, float("inf"), float("nan"), None)] == ["", "", "", ""]


def test_a_bundle_holds_no_path_of_its_own_and_no_weights(bundle):
    with zipfile.ZipFile(bundle) as archive:
        assert {n.split("/")[0] for n in archive.namelist()} == {"tables", "artefacts", "bundle.json"}
        assert not [n for n in archive.namelist() if "safetensors" in n]


def test_rows_of_other_datasets_do_not_travel_along(
    final_run, stored_final, import_rows, diagnose, tiny_project, tmp_path
):
    """A chunk's file may hold rows that another run has too; of it only this run's rows leave."""
    rows = [json.loads(line) for line in tiny_project.dataset.read_bytes().splitlines()[:3]]
    secret = {
        "id": "s",
        "messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Zorblatt"}],
    }
    diagnose(import_rows([*rows, secret], "both.jsonl"), tiny_project.final)
    run = diagnose(import_rows([rows[0]], "one.jsonl"), tiny_project.final)
    bundles.write(run.id, tmp_path / "one.lacuna")
    with zipfile.ZipFile(tmp_path / "one.lacuna") as archive:
        texts = [archive.read(n) for n in archive.namelist()]
        held = b"".join(gzip.decompress(t) if t[:2] == b"\x1f\x8b" else t for t in texts)
    assert b"Zorblatt" not in held and rows[0]["messages"][-1]["content"].encode() in held


def test_judging_again_gives_the_same(bundle, elsewhere):
    elsewhere()
    run = bundles.open_bundle(bundle)
    before = b"".join(exports.verdict_lines(run.id))
    run_here(judging.start_rejudge(run.id, Thresholds()))
    assert b"".join(exports.verdict_lines(run.id)) == before
