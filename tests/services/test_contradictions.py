"""Neighbours and contradictions through the services, over a made dataset and a tiny checkpoint.

Each trap is a pair of rows; the texts share no words with the worlds that anything was fitted or measured on.
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.errors import UserError
from core.services import contradictions, exports, jobs, judging, measurements
from core.settings import settings
from core.signals._plan import plan
from core.types import Filter, Thresholds
from core.worker.here import run_here
from db import comments as comment_table
from db import samples as sample_table
from db import signals as signal_table
from db.session import database
from tests import world as worlds
from tests.services.conftest import import_files, run_diagnosis

HOSTILE = "<img src=x onerror=alert(1)> \x1b[31m \u202e ![p](http://127.0.0.1:1/x)"
# name -> rows (prompt, answer) of the trap, and whether they contradict each other.
TRAPS = {
    "reworded, other answer": (True, [
        ("Which grain do the mills of Tarvold grind?", "They grind rye."),
        ("Tell me, which grain do the mills of Tarvold grind?", "They grind oats.")]),
    "the same text, other answer": (True, [
        ("Who keeps the lighthouse of Ennick?", "Old Mattis."), ("Who keeps the lighthouse of Ennick?", "Young Liv.")]),
    "two volumes": (False, [
        ("How many maps are in volume 1 of the Halden atlas?", "40"),
        ("How many maps are in volume 2 of the Halden atlas?", "52")]),
    "two names": (False, [
        ("Which bell rings in the tower of Sundby?", "The bell Agnes."),
        ("Which bell rings in the tower of Nordby?", "The bell Barbara.")]),
    "the same number": (False, [
        ("How many steps lead up to Varnhem?", "1,000"), ("How many steps lead up to Varnhem, please?", "1000")]),
    "two valid answers": (False, [
        ("Name a bird that nests on islands.", "The puffin."), ("Name a bird that nests on islands.", "The gannet.")]),
    "inside a long answer": (True, [
        ("What should a guest know about the inn at Lyngen?",
         "The inn at Lyngen has nine rooms and a large garden. It was opened by Sigrid Moe in 1911 and her family runs "
         "it to this day. Breakfast is served from seven until ten in the old kitchen."),
        ("What should a guest know about the inn at Lyngen?",
         "The inn at Lyngen has nine rooms and a large garden. It was opened by Sigrid Moe in 1936 and her family runs "
         "it to this day. Breakfast is served from seven until ten in the old kitchen.")]),
    "copies that agree": (False, [("Who painted the ferry of Moss?", "A sailor.")] * 3),
    "hostile": (True, [(f"What is {HOSTILE}?", "One thing."), (f"What is {HOSTILE}?", HOSTILE)]),
}  # fmt: skip


def rows_of_traps():
    """Rows, and id to (trap, contradicts)."""
    rows, of = [], {}
    for trap, (contradicts, pairs) in TRAPS.items():
        for i, (prompt, answer) in enumerate(pairs):
            sid = f"{trap} {i}"
            of[sid] = (trap, contradicts)
            messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
            rows.append({"id": sid, "messages": messages})
    return rows, of


@pytest.fixture(scope="session")
def diagnosed_traps(keep, tiny_project):
    """A data folder with run 1 over all traps; to be copied."""

    def make(data):
        rows, _ = rows_of_traps()
        (data / "rows.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
        with worlds.at_data(data, tiny_project.folder):
            dataset = import_files([data / "rows.jsonl"], "traps")
            run_diagnosis(dataset, tiny_project.final, max_draws=0, max_new_tokens=4)

    sources = (*worlds.SOURCES, "tests/services/conftest.py", "tests/services/test_contradictions.py")
    return keep("traps", make, sources, tiny_project.folder)


@pytest.fixture
def judged(diagnosed_traps, own_copy):
    """A run over all traps; (run, id to (trap, contradicts))."""
    return own_copy(diagnosed_traps), rows_of_traps()[1]


def columns(run, names):
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        ids = sample_table.order(conn, run.spec.dataset_id)["sid"]
        table = measurements.signals_of(conn, run, hashes)
    return {sid: {n: float(table.get(n)[i]) for n in names} for i, sid in enumerate(ids)}


def test_each_trap_and_what_people_decide_of_it(judged):
    run, of = judged
    found = columns(run, ["contradiction", "both_valid", "group", "group_size", "side_share", "same_question"])
    for sid, (trap, contradicts) in of.items():
        value = found[sid]["contradiction"]
        assert value >= 0.5 if contradicts else value < 0.5, f"{trap}: {value:.3f}"
    assert found["two valid answers 0"]["both_valid"] >= 0.5
    assert found["copies that agree 0"]["group_size"] != 3
    assert np.isnan(found["two volumes 0"]["group"]) and np.isnan(found["copies that agree 1"]["group"])
    share = found["reworded, other answer 0"]
    assert share["side_share"] == 0.5 and share["group_size"] == 2

    page = contradictions.groups(run.id, Filter())
    assert page.measured and page.total == len(page.groups) >= 4
    group = next(g for g in page.groups if "Tarvold" in g.question)
    assert {s.answer for s in group.sides} == {"They grind rye.", "They grind oats."}
    assert group.final_takes is None and group.base_takes is None
    one = contradictions.groups(run.id, contradictions.of_group(group.number))
    assert [g.number for g in one.groups] == [group.number]

    contradictions.decide(run.id, group.number, "keep", "B", "Ada <b>", "checked in the register", seen=None)
    with pytest.raises(UserError, match="has decided on this group since"):
        contradictions.decide(run.id, group.number, "drop", None, "Bo", seen=None)
    job = judging.start_rejudge(run.id, Thresholds(unlearned_below=0.1))
    run_here(job)
    kept = contradictions.group(run.id, group.number).decision
    assert kept.choice == "keep" and kept.author == "Ada <b>" and kept.kept == group.sides[1].members
    lines = [json.loads(line) for line in contradictions.decision_lines(run.id)]
    assert sorted(line["action"] for line in lines) == ["drop", "keep"]
    assert next(x for x in lines if x["action"] == "keep")["id"] in {sid for sid, _, _ in group.sides[1].rows}

    # A group that gained a member by recomputation still finds its decision.
    assert contradictions.decided("another key", [*kept.members, "new"], [kept]) == kept
    assert contradictions.decided("another key", ["x", "y", kept.members[0]], [kept]) is None
    contradictions.undo(run.id, kept.key)
    assert contradictions.group(run.id, group.number).decision is None
    near = contradictions.neighbours(run.id, group.sides[0].members[0])
    assert near[0].answer == group.sides[1].answer and near[0].same >= 0.5


def test_measuring_again_gives_the_same_and_nothing_twice(judged):
    run, _ = judged
    with database().reading() as conn:
        hashes = sample_table.content_hashes(conn, run.spec.dataset_id)
        before = measurements.signals_of(conn, run, hashes)
    measures = [m for m in plan(run.spec) if m.signal in ("neighbours", "contradictions")]
    with database().writing() as conn:
        for key in signal_table.find_measures(conn, [m.key for m in measures]).values():
            conn.exec_driver_sql(f"DELETE FROM measured WHERE measure_id = {key} AND content_hash > '8'")
    job = jobs.enqueue("diagnose", {"run": run.id}, lane="long", title="again", run_id=run.id)
    run_here(job)
    with database().reading() as conn:
        after = measurements.signals_of(conn, run, hashes)
    for name in before.columns:
        np.testing.assert_allclose(after.columns[name], before.columns[name], atol=1e-6, err_msg=name)


def test_a_comment_is_kept_exported_and_judges_nothing(judged, chat, monkeypatch):
    run, _ = judged
    group = next(g for g in contradictions.groups(run.id, Filter()).groups if "Tarvold" in g.question)
    with pytest.raises(UserError, match="No language model is configured"):
        contradictions.ask_judge(run.id, group.number)
    before = list(exports.verdict_lines(run.id, Filter()))

    monkeypatch.setenv("LACUNA_JUDGE_URL", chat.url)
    monkeypatch.setenv("LACUNA_JUDGE_MODEL", "small-1")
    settings.cache_clear()
    chat.says = f"A and B exclude each other. {HOSTILE}"
    made = contradictions.ask_judge(run.id, group.number)
    sent = chat.asked["messages"][1]["content"]
    assert all(text in sent for s in group.sides for text in (s.answer, s.wordings[0][0]))
    assert made.text == chat.says and made.model == "small-1" and not made.shortened
    assert contradictions.group(run.id, group.number).comment == made
    others = [g for g in contradictions.groups(run.id, Filter()).groups if g.key != group.key]
    assert others and all(g.comment is None for g in others)

    run_here(judging.start_rejudge(run.id, run.thresholds))
    assert list(exports.verdict_lines(run.id, Filter())) == before
    assert contradictions.group(run.id, group.number).comment == made

    contradictions.decide(run.id, group.number, "keep", "B", "Ada")
    contradictions.decide(run.id, others[0].number, "drop", author="Ada")
    lines = {line["id"]: line for line in map(json.loads, contradictions.decision_lines(run.id))}
    for side in group.sides:
        said = {"text": made.text, "model": "small-1", "created": made.created, "answer": side.letter}
        assert [lines[sid]["comment"] for sid, _, _ in side.rows] == [said] * len(side.rows)
    assert [lines[sid]["comment"] for sid, _, _ in others[0].sides[0].rows] == [None]

    chat.says = "Ask the register."
    assert contradictions.ask_judge(run.id, group.number).text == "Ask the register."
    assert contradictions.group(run.id, group.number).comment.text == "Ask the register."


def test_a_comment_ends_with_its_group(judged):
    run, _ = judged
    group = contradictions.groups(run.id, Filter()).groups[0]
    members = tuple(s.members for s in group.sides)
    comment = contradictions.Comment(group.key, members, "small-1", "B is right.", True, 5.0)
    with database().writing() as conn:
        comment_table.put(conn, run.spec.dataset_id, comment)
    assert contradictions.group(run.id, group.number).comment == comment
    # The letters of the text would name other answers.
    with database().writing() as conn:
        comment_table.put(conn, run.spec.dataset_id, replace(comment, sides=members[::-1]))
    assert contradictions.group(run.id, group.number).comment is None
    # A row more or less is another group: unlike a decision, a comment does not go over to it.
    with database().writing() as conn:
        conn.exec_driver_sql("UPDATE contradiction_comments SET key = 'of other rows'")
    assert contradictions.group(run.id, group.number).comment is None
