"""Answers that a model gave elsewhere: opened, attached to a diagnosis, carried on, without any model here."""

import json
import math

import pytest

from core.__main__ import main
from core.errors import UserError
from core.filters import from_query
from core.services import bundles, exports, runs, samples
from core.services.routes import answers
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.worker.here import run_here
from tests.egrm.test_brought import file, row
from tests.services.test_routes import diagnosed_random, random_folder, run  # noqa: F401


@pytest.fixture
def fresh(elsewhere):
    """A store without anything."""
    elsewhere("fresh")


def board_of(route_id):
    return route_board.board(route_id, route_board.choice(routes.get(route_id), {}))


def opened(path, **more):
    route_id, job = answers.start_answers(path=path, **more)
    run_here(job)
    return route_id


def test_a_file_replays_without_a_model_and_goes_on_as_a_file(fresh, tmp_path):
    path = file(tmp_path, [row(i) for i in range(8)] + [row(9, direct=["a"])])
    first = opened(path, model="big-model-70b")
    found = routes.get(first)
    assert found.checkpoint.label == "big-model-70b" and not found.checkpoint.has_weights
    assert (found.n_items, found.done, found.settings.m, found.settings.k) == (8, 8, 2, 1)
    assert found.settings.normaliser == "numeric"
    assert found.source["problems"] == ["line 9: direct: 1 texts; the first item has 2"]
    board = board_of(first)
    by = {p.name: p for p in board.policies}
    assert by["path_vote"].accuracy.value == 1.0 and by["path_vote"].tokens == 21 and board.judged == 8
    view = route_board.item(first, 3, route_board.choice(found, {}))
    assert view.question == "What is 3 and 3?" and view.paths[0].text.startswith("3 + 3 = 6")
    onward = tmp_path / "onward.jsonl"
    onward.write_bytes(b"".join(answers.lines(first)))
    assert repr(board_of(opened(onward))) == repr(board)  # text: not measured (NaN) is the same


def test_a_file_without_costs_has_none(fresh, tmp_path):
    plain = [
        {"question": f"{i} and 1?", "reference": i + 1, "direct": ["3", "3"], "paths": [f"{i + 1}"]} for i in range(4)
    ]
    board = board_of(opened(file(tmp_path, plain)))
    egrm = next(p for p in board.policies if p.name == "egrm")
    assert math.isnan(egrm.tokens) and egrm.seconds is None and egrm.accuracy.value == 0.25


def test_a_file_that_cannot_be_read_fails_the_job_with_its_reason(fresh, tmp_path):
    with pytest.raises(UserError, match=r"line 1: direct: missing"):
        opened(file(tmp_path, [row(0, direct=...)]))


def test_answers_by_sample_say_what_reasoning_reaches_and_travel_in_a_bundle(run, elsewhere, tmp_path):  # noqa: F811
    given = [
        {"id": f"r{i}", "question": f"What is {i} and {i}?", "direct": ["99", "99"], "paths": [f"Answer: {2 * i}"]}
        for i in range(5)
    ]
    path = file(tmp_path, [*given, row(7, id="nobody")])
    route_id = opened(path, run_id=run.id)
    assert routes.get(route_id).source["problems"] == [f"id: run {run.id} has no sample 'nobody'"]
    again = runs.get_run(run.id)
    reached = exports.count(run.id, from_query("reachable_by_reasoning=1", again.columns))
    assert reached == 6  # r3 has a twin
    asked = samples.page(run.id, from_query("", again.columns), limit=50).rows
    assert {r["sid"] for r in asked if r["reachable_by_reasoning"] == 1} == {*(f"r{i}" for i in range(5)), "again"}
    out = tmp_path / "run.lacuna"
    bundles.write(run.id, out)
    here, lines = repr(board_of(route_id)), b"".join(answers.lines(route_id))
    elsewhere()
    (carried,) = routes.list_routes(bundles.open_bundle(out).id)
    assert carried.source["words"] == "answers of answers.jsonl" and carried.done == 5
    assert repr(board_of(carried.id)) == here and b"".join(answers.lines(carried.id)) == lines


def test_the_command_opens_and_writes_files(fresh, tmp_path, capsys):
    path = file(tmp_path, [row(0), row(1, paths=["x"], direct=["1"])])
    assert main(["routes", "answers", str(path), "--model", "m"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["judged"] == 1 and "refused, line 2: direct: 1 texts" in said.err
    number = routes.list_routes()[0].id
    assert main(["routes", "export", str(number), "--out", str(tmp_path / "out.jsonl")]) == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["question"] == "What is 0 and 0?"
