"""The routes page over kept items: policies, sliders, lists, one item, and nothing that is not measured."""

import json
import random
from dataclasses import asdict

import numpy as np
import pytest

from core.egrm.settings import RouteSettings
from core.services import artefacts
from core.services.routes import answers
from core.services.routes import board as route_board
from core.services.routes import runs as routes
from core.types import Checkpoint
from core.worker.here import run_here
from db import routes as table
from db.session import database
from tests.pages.reading import button, words
from tests.world import HOSTILE
from ui import routes_charts


def said(raw, tokens, score=None):
    failure = "" if raw is not None else "no answer in the expected form"
    return {
        "raw": raw, "how": "marker" if raw is not None else "none", "failure": failure, "tokens": tokens, "cut": False,
        "swapped": False, "temperature": 0.7, "logp": -0.4, "margin": 1.5, "score": score,
    }  # fmt: skip


def make(n=40, scored=False, hostile=False):
    """A routes run of kept items: every fifth is confidently wrong, others are rescued, and so on; returns its id."""
    rng = random.Random(1)
    kept, shown = [], []
    for i in range(n):
        gold, kind = str(i), i % 5
        probes = {0: ["9999"] * 5, 1: [gold] * 5, 2: ["1", "2", "3", "4", None], 3: [gold, gold, gold, "5", "6"],
                  4: [gold] * 4 + [None]}[kind]  # fmt: skip
        paths = [gold, gold, gold, "7"] if kind in (0, 1, 2) else ["7", "7", gold, None]
        kept.append({
            "key": f"k{i}", "gold": gold, "better": None, "pair": False, "group": "ab"[i % 2], "options": {},
            "refused": None, "notes": [], "prompt": [20, 25], "seconds": [0.1, 0.4],
            "probes": [said(p, 3) for p in probes],
            "paths": [said(p, 30 + rng.randint(0, 5), rng.random() if scored else None) for p in paths],
        })  # fmt: skip
        question = HOSTILE if hostile and i == 0 else f"Question {i}?"
        settings = {"temperature": 0.7, "top_p": 1.0, "seed": 1}
        shown.append({
            "question": question, "history": [], "gold": gold, "pair": None,
            "probes": [{"text": f"Answer: {p}", **settings} for p in probes],
            "paths": [{"text": HOSTILE if hostile else f"I think. Answer: {p}", **settings} for p in paths],
        })  # fmt: skip
    settings = RouteSettings(normaliser="numeric")
    spec = {
        "checkpoint": asdict(Checkpoint("/nowhere", None, None, "lab", "0" * 64)), "settings": settings.as_dict(),
        "source": {"kind": "run", "words": "Status is unlearned", "filter": "status=unlearned", "matching": n},
        "scorer": None, "versions": {},
    }  # fmt: skip
    items = [(i, f"s{i}", f"k{i}", shown[i]["question"]) for i in range(n)]
    with database().writing() as conn:
        route_id = table.create(conn, "A trial", "answering", spec, items)
        table.store(conn, route_id, list(range(n)), kept, artefacts.write(shown))
    return route_id


def tau(at):
    return next(s for s in at.select_slider if "Short route" in s.label)


def test_nothing_yet(empty_data, open_page):
    at = open_page("routes")
    assert not at.exception and not at.error
    assert "None yet." in words(at) and "Add a checkpoint on the start page first." in words(at)
    assert button(at, "Train").disabled
    assert any("What routing was worth on a real model" in e.label for e in at.expander)
    assert "E-GRM took 38% less time" in words(at)


def test_the_whole_at_a_glance_and_at_another_threshold(empty_data, open_page):
    route_id = make()
    at = open_page("routes", routes=str(route_id))
    assert not at.exception and not at.error
    text = words(at)
    assert "40 items" in text and "E-GRM" in text and "*always reason, vote of 4*" in text
    assert "16 of 200 direct answers could not be read" in text
    found = routes.get(route_id)
    board = route_board.board(route_id, route_board.choice(found, {}))
    assert {p.name: p.accuracy.value for p in board.policies}["egrm"] == pytest.approx(0.6)
    assert f"{0.6:.1%}" in text
    tau(at).set_value(5)
    at.run()
    assert not at.exception
    moved = route_board.board(route_id, route_board.choice(found, {"tau": 1.0}))
    now = next(p for p in moved.policies if p.name == "egrm")
    assert now.accuracy.value != pytest.approx(0.6)
    assert f"{now.accuracy.value:.1%}" in words(at)
    tau(at).set_value(6)
    at.run()
    assert "0% short" in words(at).replace("\\", "")


def test_signals_are_compared_as_routers_and_no_axis_leaves_its_share(empty_data, open_page):
    route_id = make()
    at = open_page("routes", routes=str(route_id))
    text = words(at)
    assert "Which signal would have routed best" in text and "of the items reasoning" in text
    table_of = next(d.value for d in at.dataframe if "points to E-GRM" in d.value).set_index("signal")
    assert table_of.loc["Consensus (E-GRM)", "points to E-GRM"] == pytest.approx(0)
    assert "fitted on the other group of items" in text or "needs 30 other items" in text
    found = routes.get(route_id)
    board = route_board.board(route_id, route_board.choice(found, {}))
    figures = [routes_charts.curve(board.curve, board.policies, 4)]
    figures += [routes_charts.routers(board.routers.routers, board.policies, tokens) for tokens in (False, True)]
    for figure in figures:
        assert list(figure.layout.yaxis.range) == [0, 1]
        assert all(0 <= y <= 1 for trace in figure.data for y in trace.y)
    next(c for c in at.segmented_control if c.label == "Against").set_value("tokens")
    at.run()
    assert not at.exception


def test_fewer_answers_and_paths_and_another_comparison(empty_data, open_page):
    route_id = make()
    at = open_page("routes", routes=str(route_id))
    for slider in at.slider:
        slider.set_value(2)
    at.run()
    assert not at.exception and "vote of 2" in words(at)
    next(s for s in at.selectbox if s.label.startswith("Two answers")).set_value("choice")
    at.run()
    assert not at.exception
    assert "a gold answer of this form" in words(at)


def test_choosers_need_scores(empty_data, open_page):
    for scored in (False, True):
        at = open_page("routes", routes=str(make(scored=scored)))
        offered = next(s for s in at.selectbox if s.label == "The long route takes").options
        assert (len(offered) == 4) == scored
        assert not at.exception


def test_what_scoring_costs_is_shown_or_said_not_to_be_measured(empty_data, open_page):
    for measured in (False, True):
        route_id = make(scored=True)
        with database().writing() as conn:
            rows = {r["ordinal"]: r["kept"] for r in table.items(conn, route_id)} if measured else {}
            for row in rows.values():
                row["scoring"] = {"question": 5, "seconds": 0.3}
                for said_path in row["paths"]:
                    said_path |= {"read": 20, "states": 0}
            table.store_scores(conn, route_id, None, rows)
        at = open_page("routes", routes=str(route_id))
        next(s for s in at.selectbox if s.label == "The long route takes").set_value("scorer")
        at.run()
        assert not at.exception
        policies = next(d.value for d in at.dataframe if "read by the scorer" in d.value).set_index("policy")
        shown = policies["read by the scorer"]
        if measured:
            assert shown["Always reason, best score of 4"] == 85 and "tokens read per item, none generated" in words(at)
        else:
            assert np.isnan(shown["Always reason, best score of 4"]) and "was not measured" in words(at)
        assert shown["Always reason, vote of 4"] == 0


def test_lists_and_one_item(empty_data, open_page):
    route_id = make()
    at = open_page("routes", routes=str(route_id))
    lines = next(d.value for d in at.dataframe if "agree" in d.value and "item" in d.value)
    assert len(lines) == 8 and set(lines["direct"]) == {"9999"}
    at = open_page("routes", routes=str(route_id), item="0")
    text = words(at)
    assert not at.exception and "Question 0?" in text
    assert "Route short: enough direct answers agree" in text and "wrong" in text
    assert "5 direct answers" in text and "4 chains of thought" in text and "15 tokens spent" in text
    button(at, "Back to the routes run").click()
    at.run()
    assert "item" not in at.query_params and "40 items" in words(at)


def test_texts_are_never_markup(empty_data, open_page):
    route_id = make(hostile=True)
    for query in ({"routes": str(route_id)}, {"routes": str(route_id), "item": "0"}):
        at = open_page("routes", **query)
        assert not at.exception
        bodies = "".join(e.proto.body for e in at.get("html"))
        assert "<script>window" not in bodies and "<img src=x" not in bodies


def test_a_routes_run_that_is_not_there(empty_data, open_page):
    assert "There is no routes run 7" in words(open_page("routes", routes="7"))


def test_deleting_asks_first(empty_data, open_page):
    route_id = make()
    at = open_page("routes", routes=str(route_id))
    assert button(at, "Delete").disabled
    next(c for c in at.checkbox if c.label == "Delete this routes run").set_value(True)
    at.run()
    button(at, "Delete").click()
    at.run()
    assert routes.list_routes() == [] and "None yet." in words(at)


def test_answers_from_a_file_without_tokens_show_no_costs(empty_data, open_page, tmp_path):
    rows = [
        {"question": f"{i} and 1?", "reference": i + 1, "direct": ["3", "3"], "paths": [f"{i + 1}"]} for i in range(4)
    ]
    path = tmp_path / "brought.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"question": "x"}]))
    route_id, job = answers.start_answers(path=path, model="a model elsewhere")
    run_here(job)
    at = open_page("routes", routes=str(route_id))
    assert not at.exception and not at.error
    text = words(at)
    assert "tokens not given" in text and "nan" not in text and "a model elsewhere" in text
    assert "1 record of the file could not be read: line 5: direct: missing" in text.replace("\\", "")
    at = open_page("routes", routes=str(route_id), item="0")
    assert not at.exception and "Tokens were not given." in words(at) and "nan" not in words(at)
