"""The list of contradictions: whole groups, with what was decided, safe in a spreadsheet."""

import csv
import io

import pytest

from core.__main__ import main
from core.filters import from_query
from core.services import contradiction_list, contradictions, runs
from core.types import Filter


@pytest.fixture
def run(own_data, disputed, tmp_path):
    assert main(["diagnose", "--data", str(disputed), "--out", str(tmp_path / "out.jsonl")]) == 0
    return runs.get_run(1)


def read(run, chosen):
    text = b"".join(contradiction_list.lines(run.id, chosen)).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_a_group_comes_whole_with_what_becomes_of_each_row(run):
    rows = read(run, Filter())
    assert [(row["position"], row["target"]) for row in rows] == [("0", "'=Old Mattis."), ("1", "Liv.")]
    assert {row["prompt"] for row in rows} == {"Who keeps the lighthouse of Ennick?"}
    assert len({row["group"] for row in rows}) == 1 and {row["decision"] for row in rows} == {""}
    one_side = from_query(f"sid={rows[0]['id']}", run.columns)
    assert read(run, one_side) == rows
    assert read(run, Filter(text="no row says this")) == []

    number = int(rows[0]["group"])
    kept = next(s for s in contradictions.group(run.id, number).sides if s.answer == "Liv.")
    contradictions.decide(run.id, number, "keep", kept.letter, "Ada", "she moved in")
    assert [row["decision"] for row in read(run, Filter())] == ["drop", "keep"]
    assert {(row["author"], row["note"]) for row in read(run, Filter())} == {("Ada", "she moved in")}
