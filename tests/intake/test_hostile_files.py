"""Files made to cost time or memory: each ends soon, within bounds, in rows or in one message."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.intake.datasets import read, scan
from core.intake.json_rows import MAX_DEPTH, decode_json
from core.intake.parquet_rows import MAX_VALUES
from core.types import Problem, Reading

TEXT = Reading("parquet", "text", {"text": "text"})
# Reads a file with all its rows within 2 GiB of address space, and prints how many were accepted and rejected.
LIMITED = """
import resource, sys
from pathlib import Path
from core.errors import UserError
from core.intake.datasets import read
from core.types import Problem, Reading
import pyarrow.parquet, numpy
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
found = [0, 0]
try:
    for item in read([Path(sys.argv[1])], Reading("parquet", "text", {"text": "text"})):
        found[isinstance(item, Problem)] += 1
        if found[0] > 50: break
    print(*found)
except UserError as error:
    print(error)
"""


def test_a_duplicate_key_among_many_costs_no_more_than_its_neighbours():
    text = "{" + ",".join(f'"k{i}":1' for i in range(100_000)) + ',"k7":2}'
    began = time.process_time()
    value, notes = decode_json(text)
    assert time.process_time() - began < 2
    assert value["k7"] == 2 and notes == ("duplicate key 'k7': the last value counts",)


def nested(levels, sort):
    return "[" * levels + "]" * levels if sort == "lists" else '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize("sort", ["lists", "objects"])
def test_nesting_is_bounded_wherever_in_the_stack_a_row_is_read(sort):
    assert decode_json(nested(MAX_DEPTH, sort))
    for levels in (MAX_DEPTH + 1, 700, 60_000):
        with pytest.raises(ValueError, match="nested too deeply"):
            decode_json(nested(levels, sort))
    many = json.dumps([[] for _ in range(5 * MAX_DEPTH)])
    assert len(decode_json(many)[0]) == 5 * MAX_DEPTH


def limited(path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def repeated(text, many):
    return pa.DictionaryArray.from_arrays(pa.array([0] * many, pa.int32()), pa.array([text]))


def test_a_text_that_parquet_keeps_once_is_not_written_out_at_once(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": repeated("x" * (8 << 20), 2000)}), path)
    assert path.stat().st_size < 1 << 20
    assert "looks like a Parquet bomb" in limited(path)


def test_a_row_of_many_such_texts_is_rejected_alone(tmp_path):
    path = tmp_path / "rows.parquet"
    lists = pa.ListArray.from_arrays(pa.array([0, 2000, 2000, 2001], pa.int32()), repeated("x" * (4 << 20), 2001))
    pq.write_table(pa.table({"more": lists, "text": ["a", "b", "c"]}), path)
    assert limited(path) == "2 1"


def test_texts_kept_once_are_read_as_they_are(tmp_path):
    path = tmp_path / "rows.parquet"
    turns = [[{"role": "user", "content": "same"}, {"role": "assistant", "content": f"a {i}" if i % 3 else None}]
             for i in range(50)]  # fmt: skip
    table = pa.table({
        "text": [f"t{i % 4}" for i in range(50)], "turns": turns, "none": [None] * 50, "bytes": [b"b"] * 50,
        "map": pa.array([[("k", f"v{i % 2}")] for i in range(50)], pa.map_(pa.string(), pa.string())),
        "pair": pa.array([["x", "y"]] * 50, pa.list_(pa.string(), 2)), "large": pa.array(["z"] * 50, pa.large_string()),
    })  # fmt: skip
    for options in ({}, {"use_dictionary": False}, {"compression": "zstd", "row_group_size": 7}):
        pq.write_table(table, path, **options)
        rows = [json.loads(sample.raw) for sample in read([path], TEXT)]
        assert [row["text"] for row in rows] == [f"t{i % 4}" for i in range(50)]
        assert [row["turns"] for row in rows] == turns
        assert rows[1]["map"] == {"k": "v1"} and rows[0]["pair"] == ["x", "y"] and rows[0]["large"] == "z"


def test_rows_that_cost_the_file_nothing_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": pa.nulls(40_000_000, pa.string())}), path, row_group_size=40_000_000)
    assert path.stat().st_size < 80_000
    with pytest.raises(UserError, match="looks like a Parquet bomb"):
        scan([path])


def test_a_column_of_more_values_than_can_be_read_at_once_costs_its_group(tmp_path):
    path = tmp_path / "rows.parquet"
    many = pa.ListArray.from_arrays(pa.array([0, MAX_VALUES + 1], pa.int32()), pa.nulls(MAX_VALUES + 1, pa.int8()))
    pq.write_table(pa.table({"more": many, "text": ["a"]}), path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (problem,) = read([path], TEXT)
    assert isinstance(problem, Problem) and "is the limit for one row group" in problem.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20


def test_a_column_whose_name_is_no_text_is_one_message(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"texts": ["a"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"texts", b"te\xc0ts"))
    with pytest.raises(UserError, match="not a whole Parquet file"):
        scan([path])


@pytest.mark.parametrize("place", [0, 1])
def test_a_parquet_file_whose_parts_name_a_column_differently_is_read(tmp_path, place):
    plain, bent = tmp_path / "plain.parquet", tmp_path / "bent.parquet"
    pq.write_table(pa.table({"text": ["a", "b"] * 50, "other": ["c", "d"] * 50}), plain, store_schema=False)
    pieces = plain.read_bytes().split(b"other")
    assert len(pieces) == 3  # the schema, and the row group
    names = [b"other", b"other"]
    names[place] = b"ether"
    bent.write_bytes(pieces[0] + names[0] + pieces[1] + names[1] + pieces[2])
    assert [json.loads(sample.raw)["text"] for sample in read([bent], TEXT)] == ["a", "b"] * 50
