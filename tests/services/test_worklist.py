"""The work list: every sample that was not learned, why, and what to do; safe in a spreadsheet."""

import csv
import io

from core.filters import from_query
from core.services import causes, decision, exports, people, runs, worklist
from core.types import Filter


def read(text):
    return list(csv.DictReader(io.StringIO(text.decode("utf-8-sig"))))


def listed(run, query=""):
    return read(b"".join(worklist.lines(run.id, from_query(query, runs.get_run(run.id).columns))))


def test_every_sample_that_was_not_learned_is_there_with_what_to_do(along_run):
    rows = listed(along_run)
    chosen = from_query("status=partly,unlearned", along_run.columns)
    assert len(rows) == exports.count(along_run.id, chosen) > 0
    assert {row["status"] for row in rows} <= {"partly", "unlearned"}
    assert [int(row["position"]) for row in rows] == sorted(int(row["position"]) for row in rows)
    named = [row for row in rows if row["cause"]]
    assert named and all(row["why"] and row["what to do"] for row in named)
    labels = {causes.look(name).label: name for name in causes.values()}
    assert all(row["what to do"] == decision.advice(labels[row["cause"]]) for row in named)


def test_a_filter_narrows_it_and_people_stand_beside_the_verdict(along_run):
    rows = listed(along_run, "status=unlearned")
    assert {row["status"] for row in rows} == {"unlearned"}
    people.override(along_run.id, rows[0]["id"], "learned", None, "Ada", "read it")
    again = listed(along_run, "status=unlearned")
    assert (again[0]["human_status"], again[0]["author"], again[0]["note"]) == ("learned", "Ada", "read it")


def test_no_cell_is_a_formula():
    line = worklist.line(["=1+1", "-3", "@x", "plain, with a comma", "a\nb"]).decode()
    assert next(csv.reader(io.StringIO(line))) == ["'=1+1", "'-3", "'@x", "plain, with a comma", "a\nb"]


def test_a_run_without_such_samples_has_a_header_alone(along_run):
    rows = read(b"".join(worklist.lines(along_run.id, Filter(text="no row says this"))))
    assert rows == []
