"""People's judgement leaves Lacuna in every export, counts where a person says so, and comes back in by file."""

import csv
import json
import math

import pytest

from core.errors import UserError
from core.filters import from_query
from core.services import exports, labels, mitigation, people, recipes, results, review, runs, samples
from core.types import Filter


def rows(run, query):
    return [r["sid"] for r in samples.page(run.id, from_query(query, run.columns), None, 100).rows]


def written(run):
    return {v["id"]: v for v in map(json.loads, exports.verdict_lines(run.id))}


def file_of(path, said):
    path.write_text("".join(json.dumps(row) + "\n" for row in said))
    return path


def test_every_export_carries_what_people_said(along_run):
    first, second = rows(along_run, "status=unlearned")[:2]
    people.override(along_run.id, first, "learned", "base_conflict", "Ada", "Same in other words.")
    assert people.add_tags(along_run.id, [first, second], ["hard", "look again"], "Bo") == 4
    lines = written(along_run)
    said = {name: lines[first][name] for name in labels.COLUMNS}
    assert said == {"human_status": "learned", "human_cause": "base_conflict", "tags": ["hard", "look again"],
                    "note": "Same in other words.", "author": "Ada"}  # fmt: skip
    assert (lines[second]["human_status"], lines[second]["tags"]) == (None, ["hard", "look again"])
    others = [v for sid, v in lines.items() if sid not in (first, second)]
    assert all({n: v[n] for n in labels.COLUMNS} == labels.NOTHING for v in others)
    manifest = exports.manifest(along_run.id, Filter())["people"]
    assert (manifest["reviewed"], manifest["tagged"]) == (1, 2)
    assert manifest["agreement"]["status"] == {"agree": 0, "of": 1}
    assert people.tag_counts(along_run.id, Filter()) == [("hard", 2), ("look again", 2)]
    assert rows(along_run, "tag=hard") == sorted([first, second], key=rows(along_run, "").index)
    assert len(rows(along_run, "tag=~")) == along_run.n_samples - 2
    assert people.remove_tags(along_run.id, [second], ["hard"]) == 1
    assert rows(along_run, "tag!=hard,look again") == [s for s in rows(along_run, "") if s not in (first, second)]


def test_reviews_count_in_place_of_verdicts_where_the_filter_says_so(along_run):
    run = along_run
    sid = rows(run, "status=unlearned")[0]
    people.override(run.id, sid, "learned", None, "Ada", "Right.")
    cause = written(run)[sid]["cause"]
    before, after = (results.overview(run.id, from_query(q, run.columns)).status for q in ("", "judged=people"))
    assert after["learned"].k == before["learned"].k + 1
    assert after["unlearned"].k == before["unlearned"].k - 1
    assert sid in rows(run, "judged=people&status=learned")
    assert sid not in rows(run, "judged=people&status=unlearned&sort=status")
    assert sid in rows(run, f"judged=people&cause={cause}"), "the cause was left to the verdict"
    shown = samples.page(run.id, from_query("judged=people", run.columns), None, 100).rows
    assert next(r["status"] for r in shown if r["sid"] == sid) == "learned"
    facets = results.facets(run.id, from_query("judged=people&status=learned", run.columns), ["status"])
    assert dict(facets["status"])["learned"] == after["learned"].k
    with pytest.raises(UserError, match="people"):
        exports.count(run.id, from_query("judged=me", run.columns))


def test_recipes_treat_by_reviews(along_run, tmp_path):
    run = along_run
    sid = rows(run, "status=learned")[0]
    people.override(run.id, sid, "unlearned", "under_optimised", "Ada", "It is wrong.")
    chosen = from_query("judged=people&status=unlearned", run.columns)
    planned = recipes.make_plan(run, chosen, "under_optimised", {}, {})
    codes, values = planned.pool.labels("cause")
    at = rows(run, "").index(sid)
    assert at in planned.pool.treated and values[codes[at]] == "under_optimised"
    mitigation.export(run.id, chosen, "under_optimised", {}, tmp_path / "out", {}, lambda done, total: None)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["people"]["counted_in_place_of_verdicts"] is True
    assert manifest["treated"]["by_cause"]["under_optimised"] >= 1


def test_labels_come_back_by_file_and_are_undone(along_run, tmp_path):
    run = along_run
    first, second, third = rows(run, "status=unlearned")[:3]
    people.override(run.id, first, "partly", None, "Ada", "Half.")
    said = [
        {"id": first, "human_status": "learned", "author": "Bo"},
        {"id": second, "human_cause": "missing_knowledge", "tags": ["new"], "note": "Not in the base."},
        {"id": third, "tags": "new; odd"},
        {"id": "nobody", "human_status": "learned"},
        {"id": third, "human_status": "learnt"},
        {"id": second, "human_status": "learned"},
        {"id": rows(run, "")[-1]},
    ]
    found = labels.check(run.id, file_of(tmp_path / "said.jsonl", said), "Cleo")
    assert [label.sid for label in found.new] == [second, third]
    assert [label.sid for label in found.standing] == [first]
    assert [(m.row, m.sid) for m in found.mismatches] == [(4, "nobody"), (5, third), (6, second)]
    assert "Did you mean" not in found.mismatches[1].why and "learnt" in found.mismatches[1].why
    assert found.empty == 1
    assert labels.sentence(found) == (
        "2 new labels, 0 already here, 1 would replace another review, 3 rows without a match, 1 row without a label"
    )
    assert labels.take(run.id, found).n == 2
    lines = written(run)
    assert lines[first]["human_status"] == "partly", "nothing is overwritten silently"
    assert (lines[second]["human_cause"], lines[second]["author"], lines[second]["note"]) == (
        "missing_knowledge", "Cleo", "Not in the base.")  # fmt: skip
    assert lines[third]["tags"] == ["new", "odd"]
    again = labels.check(run.id, tmp_path / "said.jsonl", "Cleo")
    assert (len(again.new), again.same) == (0, 2)
    assert labels.take(run.id, again, replace=True).n == 1
    assert written(run)[first]["human_status"] == "learned"
    assert labels.undo(run.id).restored == 1
    assert (written(run)[first]["human_status"], written(run)[first]["note"]) == ("partly", "Half.")
    people.override(run.id, second, "learned", None, "Dan", "I looked.")
    undone = labels.undo(run.id)
    assert (undone.restored, undone.left) == (1, (second,))
    assert written(run)[third]["tags"] == []
    assert written(run)[second]["author"] == "Dan"
    assert all(f.undone is not None for f in labels.label_files(run.id))
    with pytest.raises(UserError, match="nothing to undo"):
        labels.undo(run.id)


def test_what_goes_out_comes_in_elsewhere_as_csv_by_row(along_run, tmp_path):
    run = along_run
    sids = rows(run, "status=unlearned")[:2]
    people.override(run.id, sids[0], "learned", None, "Ada", "Fine, really.")
    people.add_tags(run.id, sids, ["a, b"], "Ada")
    said = [json.loads(line) for line in labels.lines(run.id)]
    place = {v["id"]: v["row"] for v in written(run).values()}
    with (tmp_path / "said.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", *labels.COLUMNS])
        writer.writerows(
            [place[v["id"]], v["human_status"], v["human_cause"], ";".join(v["tags"]), v["note"], v["author"]]
            for v in said
        )
    assert labels.check(run.id, tmp_path / "said.csv", "Ada").same == 2
    people.withdraw(run.id, sids[0])
    people.remove_tags(run.id, sids, ["a, b"])
    labels.take(run.id, labels.check(run.id, tmp_path / "said.csv", "Ada"))
    assert [json.loads(line) for line in labels.lines(run.id)] == said


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"id": "r1", "verdict": "learned"}, "holds no labels.*verdict.*human_status"),
        ({"sample": "r1", "human_status": "learned"}, "does not say which samples"),
    ],
)
def test_a_file_that_holds_no_labels_says_so(along_run, tmp_path, row, complaint):
    with pytest.raises(UserError, match=complaint):
        labels.check(along_run.id, file_of(tmp_path / "x.jsonl", [row]), "Ada")


def test_an_id_that_is_no_text_and_tags_without_end_are_mismatches(along_run, tmp_path):
    sid = rows(along_run, "")[0]
    said = [{"id": "\ud800", "tags": ["a"]}, {"id": sid, "tags": [f"t{i}" for i in range(100_000)]}]
    path = tmp_path / "odd.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in said), encoding="utf-8")
    found = labels.check(along_run.id, path, "Ada")
    assert [m.row for m in found.mismatches] == [1, 2]
    assert "100,000 tags" in found.mismatches[1].why


def test_the_queue_asks_the_least_sure_and_keeps_its_order(along_run, tmp_path):
    run = along_run
    found = review.queue(run.id)
    assert 0 < len(found.rows) <= review.ROUND and found.done == 0 and found.number == 1
    judged = {v["id"]: v for v in written(run).values()}
    assert all(judged[r.sid]["status"] in ("partly", "unlearned") for r in found.rows)
    # One row of each pattern comes first; the first of all is worth most.
    assert found.rows[0] == max(found.rows, key=lambda r: r.doubt * math.log2(1 + r.alike))
    people.agree(run.id, found.rows[0].sid, "Ada")
    again = review.queue(run.id)
    assert [r.sid for r in again.rows] == [r.sid for r in found.rows] and again.done == 1
    assert again.rows[0].reviewed
    assert people.agreement(run.id)["status"].k == 1
    # The queue is a file to fill in.
    filled = [json.loads(line) | {"human_status": "unlearned"} for line in review.lines(run.id)]
    labels.take(run.id, labels.check(run.id, file_of(tmp_path / "queue.jsonl", filled), "Ada"), replace=True)
    assert review.queue(run.id, 1).done == len(found.rows)
    assert review.queue(run.id).number == min(2, found.rounds)


def test_a_tag_is_a_word(along_run):
    sid = rows(along_run, "")[0]
    for bad in ("", " ", "a;b", "x" * 61, "a\x00b"):
        with pytest.raises(UserError, match="is not a tag"):
            people.add_tags(along_run.id, [sid], [bad], "Ada")
    with pytest.raises(UserError, match="no sample"):
        people.add_tags(along_run.id, ["nobody"], ["a"], "Ada")
    assert runs.get_run(along_run.id).n_samples == along_run.n_samples
