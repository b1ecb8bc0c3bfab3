"""Routes as a use case: chosen samples, both routes by the worker's handler, replay, and what the diagnosis learns."""

import json

import numpy as np
import pytest
from sqlalchemy import select, text, update

from core.egrm.replay import Setting
from core.egrm.route import CHUNK
from core.egrm.settings import RouteSettings
from core.errors import UserError
from core.filters import from_query
from core.lab import tiny
from core.services import artefacts, exports, jobs, judging, results, runs, samples
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.services.routes import scorers as route_scorers
from core.settings import settings as process
from core.types import Filter
from core.worker.here import run_here
from db import routes as table
from db.models import routes as route_table
from db.session import database
from tests import world as worlds
from tests.services.conftest import import_files, run_diagnosis

SHORT = {"m": 3, "k": 2, "direct_tokens": 4, "path_tokens": 8, "normaliser": "numeric"}


SOURCES = (*worlds.SOURCES, "tests/services/conftest.py", "tests/services/test_routes.py")


def make_random(folder):
    tokenizer = tiny.build_tokenizer(["What is two and three?", "Answer: 5"], 400)
    model = tiny.tiny_model(tiny.tiny_config("llama", len(tokenizer), 32, init=0.3, context=512), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def random_folder(keep):
    """A checkpoint with random weights: it reproduces nothing, and nothing has to be trained."""
    return keep("random", make_random, ("core/lab", "tests/services/test_routes.py"))


def fourteen_rows():
    rows = [
        {"id": f"r{i}", "messages": [{"role": "user", "content": f"What is {i} and {i}?"},
                                     {"role": "assistant", "content": str(2 * i)}], "stage": "ab"[i % 2]}
        for i in range(12)
    ]  # fmt: skip
    rows.append({"id": "again", "messages": rows[3]["messages"], "stage": "b"})
    rows.append({"id": "odd", "messages": [{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}]})
    return rows


@pytest.fixture(scope="session")
def diagnosed_random(keep, random_folder):
    def make(data):
        (data / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in fourteen_rows()))
        with worlds.at_data(data, random_folder):
            run_diagnosis(import_files([data / "rows.jsonl"], "rows"), random_folder, max_draws=0)

    return keep("routes", make, SOURCES, random_folder)


@pytest.fixture
def run(diagnosed_random, own_copy):
    """A diagnosis of 14 rows, two of them with one content, by the random checkpoint."""
    return own_copy(diagnosed_random)


def started(run, query="", **changes):
    chosen = from_query(query, run.columns)
    return routes.start_for_run(run.id, chosen, RouteSettings(**(SHORT | changes)))


def stored_texts(route_id):
    with database().reading() as conn:
        rows = table.items(conn, route_id)
    return [artefacts.read(r["artefact"], r["slot"]) for r in rows]


def test_both_routes_of_the_chosen_samples(run):
    route_id, job = started(run, "stage=a")
    assert routes.get(route_id).n_items == 6 and routes.get(route_id).done == 0
    run_here(job)
    found = routes.get(route_id)
    assert found.done == 6 and found.source["matching"] == 6 and found.source["words"] == "Stage is a"
    board = route_board.board(route_id, route_board.choice(found, {}))
    assert board.n == board.judged == 6
    assert {p.name for p in board.policies} >= {
        "direct_1",
        "direct_m",
        "path_1",
        "path_vote",
        "egrm",
        "random",
        "oracle",
    }
    assert sum(level.n for level in board.levels) == 6
    listed = [line.ordinal for lines in board.lists.values() for line in lines]
    assert set(listed) <= {0, 2, 4, 6, 8, 10}
    assert board.hygiene["probes"]["texts"] == 18 and board.hygiene["paths"]["texts"] == 12
    view = route_board.item(route_id, 4, route_board.choice(found, {}))
    assert view.question == "What is 4 and 4?" and view.gold == "8"
    assert (len(view.probes), len(view.paths)) == (3, 2) and sum(p.chosen for p in view.paths) == 1
    assert view.tokens["spent"] == view.tokens["direct answers"] + (0 if view.short else view.tokens["reasoning"])


def test_duplicates_are_asked_once_and_what_cannot_be_asked_says_why(run):
    route_id, job = started(run)
    run_here(job)
    assert routes.get(route_id).n_items == 13
    board = route_board.board(route_id, route_board.choice(routes.get(route_id), {}))
    assert board.n == 12 and sum(board.refused.values()) == 1 and "tool turn" in next(iter(board.refused))
    assert routes.of_sample(run.id, "again") == routes.of_sample(run.id, "r3") != []
    table_rows = samples.page(run.id, Filter(), limit=50).rows
    by_id = {r["sid"]: r for r in table_rows}
    assert by_id["again"]["direct_consensus"] == by_id["r3"]["direct_consensus"] is not None
    assert by_id["odd"]["reachable_by_reasoning"] is None


def test_cancelled_keeps_what_it_has_and_resumes_with_the_rest(run, monkeypatch):
    whole, job = started(run)
    run_here(job)
    route_id, job = started(run)
    stored = table.store

    def cancel_after_one(conn, *rest, **named):
        stored(conn, *rest, **named)
        conn.execute(text("UPDATE jobs SET cancel = :yes WHERE id = :job"), {"yes": True, "job": job})

    monkeypatch.setattr(table, "store", cancel_after_one)
    monkeypatch.setitem(CHUNK, "cpu", 4)
    with pytest.raises(UserError, match="stopped"):
        run_here(job)
    assert jobs.get_job(job).state == "cancelled"
    monkeypatch.setattr(table, "store", stored)
    kept = stored_texts(route_id)
    assert 0 < len(kept) < 13
    board = route_board.board(route_id, route_board.choice(routes.get(route_id), {}))
    assert board.n == len(kept) - sum(board.refused.values())
    jobs.resume_job(job)
    run_here(job)
    assert stored_texts(route_id) == stored_texts(whole)
    assert stored_texts(route_id)[: len(kept)] == kept


def test_reachable_by_reasoning_is_a_column_and_a_filter(run):
    route_id, job = started(run)
    run_here(job)
    with database().writing() as conn:
        for row in table.items(conn, route_id)[:3]:
            for said in row["kept"]["paths"]:
                said |= {"raw": row["kept"]["gold"], "how": "marker", "failure": ""}
            if row["ordinal"] == 2:
                for said in row["kept"]["probes"]:
                    said |= {"raw": row["kept"]["gold"], "how": "marker", "failure": ""}
            else:
                for said in row["kept"]["probes"]:
                    said |= {"raw": "777", "how": "marker", "failure": ""}
            table.store(conn, route_id, [row["ordinal"]], [row["kept"]], row["artefact"])
    judging.write_judgement(runs.get_run(run.id), run.thresholds)
    now = runs.get_run(run.id)
    assert "reachable_by_reasoning" in {c.name for c in now.columns}
    chosen = from_query("reachable_by_reasoning=1", now.columns)
    assert [r["sid"] for r in samples.page(run.id, chosen, limit=50).rows] == ["r0", "r1"]
    assert exports.count(run.id, from_query("reachable_by_reasoning=~", now.columns)) == 1
    assert dict(results.facets(run.id, Filter())["reachable_by_reasoning"])[1] == 2
    assert sum(1 for _ in exports.verdict_lines(run.id, chosen)) == 2
    run_here(routes.delete(route_id))
    assert "reachable_by_reasoning" not in {c.name for c in runs.get_run(run.id).columns}


def test_deleting_removes_texts_and_a_run_takes_its_routes_along(run):
    first, job = started(run, "stage=a")
    run_here(job)
    other, job = started(run, "stage=b")
    run_here(job)

    def files():
        return {p.name for p in process().artefacts.rglob("*.gz")}

    before = files()
    run_here(routes.delete(first))
    assert files() < before
    runs.delete_run(run.id)
    assert routes.list_routes() == [] and files() == set()
    with pytest.raises(UserError, match="no routes run"):
        routes.get(other)


def test_sliders_beyond_what_was_generated_are_refused(run):
    route_id, job = started(run, "stage=a")
    run_here(job)
    found = routes.get(route_id)
    assert route_board.choice(found, {"tau": 0.5, "m": 2}).wanted == 1
    with pytest.raises(UserError, match="more than was generated"):
        route_board.choice(found, {"m": 4})
    with pytest.raises(UserError, match="no scores"):
        route_board.choice(found, {"choose": "scorer"})
    with pytest.raises(UserError, match="No sample passes"):
        started(run, "stage=zz")
    assert Setting.of(0.8, 3, 2, "vote").wanted == 3


def test_judging_a_file_of_pairs(random_folder, tmp_path):
    from core.checkpoint.folders import as_checkpoint

    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Say {i}", "chosen": f"{i}", "rejected": "no", "subset": "easy"} for i in range(9)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows) + "not json\n")
    settings = routes.judging_settings(m=3, k=2, direct_tokens=3, path_tokens=6)
    route_id, job = routes.start_pairs(as_checkpoint(random_folder, None, "x"), settings, path=path)
    run_here(job)
    found = routes.get(route_id)
    assert (found.n_items, found.done, found.mode) == (9, 9, "judging")
    assert found.source["shapes"] == {"RewardBench": 9} and found.source["n_problems"] == 1
    board = route_board.board(route_id, route_board.choice(found, {}))
    assert board.judged == 9 and board.options == 2 and board.levels[3].chance == pytest.approx(0.25)
    view = route_board.item(route_id, 0, route_board.choice(found, {}))
    assert view.pair and view.gold.startswith("reply")
    routes.delete(route_id)
    assert list(process().artefacts.rglob("*.gz")) == []


def test_a_scorer_is_trained_from_a_file_and_scores_paths(run, tmp_path):
    path = tmp_path / "paths.jsonl"
    lines = []
    for i in range(60):
        paths = [{"text": f"{i} + 1 = {i + 1 + wrong}\nAnswer: {i + 1 + wrong}"} for wrong in (0, 0, 1, 2)]
        lines.append(json.dumps({"question": f"What is {i} and 1?", "gold": str(i + 1), "paths": paths}))
    path.write_text("\n".join(lines))
    from core.egrm.scorer_inputs import ScorerSettings

    job = route_scorers.start_training(ScorerSettings(embeddings=False, epochs=30), path=path)
    scorer = route_scorers.get_scorer(run_here(job)["scorer"])
    assert scorer.facts["questions"] == 60 and scorer.facts["metrics"]["pairwise"]["value"] > 0.9
    route_id, job = started(run, "stage=a", choose="scorer")
    run_here(job)
    assert route_board.choice(routes.get(route_id), {}).choose == "vote"  # no scores yet, so no stand-in
    run_here(route_scorers.start_scoring(route_id, scorer.id))
    found = routes.get(route_id)
    assert found.scorer_id == scorer.id and route_board.choice(found, {}).choose == "scorer"
    view = route_board.item(route_id, 0, route_board.choice(found, {}))
    assert sorted(p.rank for p in view.paths) == [1, 2] and all(0 <= p.score <= 1 for p in view.paths)
    board = route_board.board(route_id, route_board.choice(found, {}))
    assert board.scorer_asked and board.ledger["scorer, word pieces read by its encoder"] == 0  # it reads features only
    by = {p.name: p for p in board.policies}
    assert by["path_k"].scoring == 0 and by["path_k"].seconds > by["path_vote"].seconds
    route_scorers.delete_scorer(scorer.id)
    assert route_scorers.list_scorers() == []


class Counting:
    """An encoder whose word pieces are words."""

    window, languages = 5, ()

    def lengths(self, texts):
        return np.array([len(t.split()) for t in texts])

    def encode(self, texts):
        return np.stack([np.random.default_rng(sum(t.encode())).normal(size=4) for t in texts]).astype(np.float32)

    def close(self):
        pass


def test_what_a_scorers_encoder_reads_is_part_of_the_cost(run, tmp_path, monkeypatch):
    from core.egrm.scorer_inputs import ScorerSettings

    path = tmp_path / "paths.jsonl"
    paths = [{"text": f"Answer: {i}", "label": i} for i in (0, 1)]
    path.write_text("".join(json.dumps({"question": f"q{i}", "paths": paths}) + "\n" for i in range(30)))
    monkeypatch.setattr(route_scorers, "encoder_names", lambda: ["counting"])
    monkeypatch.setattr(route_scorers, "_open", lambda name: Counting())
    scorer = run_here(route_scorers.start_training(ScorerSettings(epochs=2), path=path))["scorer"]
    route_id, job = started(run, "stage=a", choose="scorer")
    run_here(job)
    run_here(route_scorers.start_scoring(route_id, scorer))
    found = routes.get(route_id)
    with database().reading() as conn:
        kept = [r["kept"] for r in table.items(conn, route_id)]
    read = []
    for row, shown in zip(kept, stored_texts(route_id), strict=True):
        texts = {shown["question"], *(t["text"] for t in shown["paths"]), *(s["raw"] or "" for s in row["paths"])}
        read.append(sum(min(5, len(t.split())) for t in texts))
    board = route_board.board(route_id, route_board.choice(found, {}))
    by = {p.name: p for p in board.policies}
    assert by["path_k"].scoring == pytest.approx(np.mean(read)) and by["path_vote"].scoring == 0
    assert board.ledger["scorer, word pieces read by its encoder"] == pytest.approx(by["egrm"].scoring)
    with database().writing() as conn:  # as scored before the cost was measured
        for ordinal, row in zip((0, 2, 4, 6, 8, 10), kept, strict=True):
            del row["scoring"]
            table.store_scores(conn, route_id, scorer, {ordinal: row})
    old = {p.name: p for p in route_board.board(route_id, route_board.choice(found, {})).policies}
    assert np.isnan(old["path_k"].scoring) and old["path_k"].seconds is None


def test_hidden_states_of_a_checkpoint_train_a_scorer_of_that_checkpoint(run, tmp_path):
    from core.egrm.scorer_inputs import ScorerSettings

    route_id, job = started(run, hidden_states=True)
    run_here(job)
    plain, job = started(run, "stage=a")
    run_here(job)
    with database().writing() as conn:  # a random model is never right: half of its paths are called so
        for row in table.items(conn, route_id):
            for said in row["kept"]["paths"][:1]:
                said |= {"raw": row["kept"]["gold"], "how": "marker", "failure": ""}
            table.store(conn, route_id, [row["ordinal"]], [row["kept"]], row["artefact"])
            conn.exec_driver_sql(
                f"UPDATE route_items SET slot={row['slot']} WHERE route_id={route_id} AND ordinal={row['ordinal']}"
            )
    wanted = ScorerSettings(embeddings=False, states=True, epochs=2)
    path = tmp_path / "paths.jsonl"
    lines = [{"question": "q", "paths": [{"text": f"Answer: {i}", "label": i} for i in (0, 1)]}] * 30
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="they were not measured"):
        run_here(route_scorers.start_training(wanted, path=path))
    # Too few of its own for a training: the same items twice, as two routes runs would give.
    scorer = run_here(route_scorers.start_training(wanted, [route_id, route_id]))["scorer"]
    assert route_scorers.get_scorer(scorer).facts["states_of"] == run.spec.final.fingerprint
    run_here(route_scorers.start_scoring(route_id, scorer))
    board = route_board.board(route_id, route_board.choice(routes.get(route_id), {"choose": "scorer"}))
    with database().reading() as conn:
        kept = [r["kept"] for r in table.items(conn, route_id) if not r["kept"]["refused"]]
    again = [sum(p["tokens"] + row["prompt"][1] for p in row["paths"]) for row in kept]
    assert {p.name: p for p in board.policies}["path_k"].scoring == pytest.approx(np.mean(again))
    with pytest.raises(UserError, match="not measured"):
        run_here(route_scorers.start_scoring(plain, scorer))
    with database().writing() as conn:
        spec = dict(conn.execute(select(route_table).where(route_table.c.id == route_id)).mappings().one()["spec"])
        other = json.loads(json.dumps(spec).replace(run.spec.final.fingerprint, "f" * 64))
        conn.execute(update(route_table).where(route_table.c.id == route_id).values(spec=other))
    with pytest.raises(UserError, match="hidden states of another checkpoint"):
        run_here(route_scorers.start_scoring(route_id, scorer))


def test_the_command_line_does_the_same(run, capsys):
    from core.__main__ import main

    arguments = ["--m", "3", "--k", "2", "--direct-tokens", "4", "--path-tokens", "8", "--normaliser", "numeric"]
    assert main(["routes", "run", "--run", str(run.id), "--filter", "stage=a", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["judged"] == 6 and shown["choice"]["wanted"] == 3
    assert main(["routes", "show", "1", "--tau", "0.5", "--k", "1"]) == 0
    moved = json.loads(capsys.readouterr().out)
    assert moved["choice"]["wanted"] == 2 and moved["choice"]["k"] == 1
    assert main(["routes", "list"]) == 0
    assert "6/6" in capsys.readouterr().out
    assert main(["routes", "show", "9"]) == 2
    assert "no routes run 9" in capsys.readouterr().err
