"""What every format keeps: write then parse is the identity in every container, and a broken row harms no other."""

from __future__ import annotations

import csv
import gzip
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.formats._cells import RowError
from core.intake.containers import read_records
from core.intake.datasets import read, read_json_row, scan
from core.intake.records import Record
from core.plugins import kinds
from core.types import Problem, Reading, Sample

FORMATS = kinds("formats")
each_format = pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8", newline="")


def write_json(path, rows):
    path.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def write_wrapped(path, rows):
    path.write_text(json.dumps({"version": 1, "data": rows}, ensure_ascii=False), encoding="utf-8")


def write_gzip(path, rows):
    path.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))


def write_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)


def as_cells(row):
    return {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()}


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(map(as_cells, rows))


WRITERS = {
    "jsonl": (write_jsonl, "jsonl"),
    "json": (write_json, "json"),
    "wrapped": (write_wrapped, "json"),
    "gzip": (write_gzip, "jsonl"),
    "parquet": (write_parquet, "parquet"),
    "csv": (write_csv, "csv"),
}

ALPHABET = "ab \"'\\,;{}[]:\t\n\r\0\u2028é漢😀"


def varied(value, rng, key=""):
    """The value with random texts in place of contents; structure and role names stay."""
    if isinstance(value, dict):
        return {k: varied(v, rng, k) for k, v in value.items()}
    if isinstance(value, list):
        return [varied(v, rng, key) for v in value]
    if isinstance(value, str) and key not in ("role", "from", "type", "name", "id", "tools", "stage", "source"):
        return "".join(rng.choices(ALPHABET, k=rng.randint(1, 30)))
    return value


def rows_of(format, n=12):
    """The format's examples, then as many variations of them; ids numbered so that they are unique."""
    rng = random.Random(7)
    rows = [*format.examples] + [varied(format.examples[i % len(format.examples)], rng) for i in range(n)]
    return [
        row | ({"id": f"r{i}" if isinstance(row["id"], str) else i + 2**62} if "id" in row else {})
        for i, row in enumerate(rows)
    ]


@each_format
def test_declares_itself(format):
    assert format.label
    assert format.help
    assert len({role.name for role in format.roles}) == len(format.roles)
    assert all(role.columns for role in format.roles)
    assert [role.name for role in format.roles][-3:] == ["id", "stage", "source"]


@each_format
@pytest.mark.parametrize("writer", WRITERS)
def test_examples_are_detected_as_this_format(format, writer, tmp_path):
    path = tmp_path / "data"
    path = path.with_suffix(".csv") if writer == "csv" else path
    WRITERS[writer][0](path, list(format.examples))
    found = scan([path])
    assert (found.reading.container, found.reading.format) == (WRITERS[writer][1], format.name)
    assert found.n_seen == len(format.examples)
    assert found.problems == ()
    json.dumps(found.as_dict(), allow_nan=False)


@each_format
@pytest.mark.parametrize("writer", WRITERS)
def test_write_then_parse_is_the_identity(format, writer, tmp_path):
    rows = rows_of(format)
    path = tmp_path / "data.x"
    WRITERS[writer][0](path, rows)
    mapping = format.detect({k: [row[k] for row in rows] for k in rows[0]})[1]
    reading = Reading(WRITERS[writer][1], format.name, mapping)
    samples = list(read([path], reading))
    assert len(samples) == len(rows)
    for row, sample in zip(rows, samples, strict=True):
        expected = format.parse(row, mapping)
        assert (sample.messages, sample.shape, sample.tools) == (expected.messages, expected.shape, expected.tools)
        assert sample.id == str(row["id"]) if "id" in row else sample.id == f"{sample.content_hash[:12]}-{sample.row}"
        assert sample.stage == row.get("stage")
        assert sample.source == row.get("source")
        assert b"\n" not in sample.raw
        assert list(json.loads(sample.raw)) == list(row)
        if writer == "csv":
            assert json.loads(sample.raw) == as_cells(row)
        elif writer != "parquet":
            assert json.loads(sample.raw) == row
        again = read_json_row(sample.raw, reading)
        assert (again.messages, again.shape, again.tools) == (expected.messages, expected.shape, expected.tools)


@each_format
def test_a_broken_row_harms_no_other(format, tmp_path):
    rows = rows_of(format, 6)
    mapping = format.detect({k: [row[k] for row in rows] for k in rows[0]})[1]
    first = next(role.name for role in format.own_roles if role.required)
    lines = [json.dumps(row) for row in rows]
    broken = {
        1: json.dumps(rows[0] | {mapping[first]: None}),
        3: lines[0][:-2],
        4: "[1]",
        6: json.dumps({k: v for k, v in rows[0].items() if k != mapping[first]}),
        9: json.dumps(rows[0] | {mapping[first]: {"a": [1, {"b": None}]}}),
    }
    for at, line in broken.items():
        lines.insert(at, line)
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    items = list(read([path], Reading("jsonl", format.name, mapping)))
    assert [item.row for item in items] == list(range(len(lines)))
    problems = [item for item in items if isinstance(item, Problem)]
    assert [problem.row for problem in problems] == list(broken)
    assert [problem.line for problem in problems] == [row + 1 for row in broken]
    assert all(problem.text and problem.raw for problem in problems)
    assert problems[0].field == mapping[first]
    samples = [item for item in items if isinstance(item, Sample)]
    assert [sample.ordinal for sample in samples] == list(range(len(rows)))
    assert [sample.messages for sample in samples] == [format.parse(row, mapping).messages for row in rows]


KEYS = ["role", "content", "from", "value", "tool_calls", "name", "weight", "train", "type", "text", "function_call"]
TEXTS = ["", "x", "user", "assistant", "human", "[", "[[]]", "{}", '[{"role":1}]', '{"name":"f"}', "\ud83d", "é"]


def random_json(rng, depth=0):
    """A small JSON value; keys and texts are those that formats look for."""
    shape = rng.randrange(8 if depth < 3 else 6)
    if shape < 3:
        return rng.choice([None, True, False, 0, -1, 2**70, 0.5])
    if shape < 6:
        return rng.choice(TEXTS)
    if shape == 6:
        return [random_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(KEYS): random_json(rng, depth + 1) for _ in range(rng.randrange(5))}


def damaged(value, rng):
    """The value with some of its parts replaced, removed or added."""
    if rng.random() < 0.06:
        return random_json(rng)
    if isinstance(value, dict):
        kept = {k: damaged(v, rng) for k, v in value.items() if rng.random() < 0.96}
        return kept | {rng.choice(KEYS): random_json(rng)} if rng.random() < 0.1 else kept
    if isinstance(value, list):
        return [damaged(v, rng) for v in value if rng.random() < 0.96]
    return value


@each_format
def test_any_json_is_parsed_or_refused_with_a_field(format):
    rng = random.Random(3)
    mapping = {role.name: role.columns[0] for role in format.roles}
    refused = 0
    for i in range(2000):
        row = damaged(format.examples[i % len(format.examples)], rng)
        if not isinstance(row, dict):
            continue
        try:
            parsed = format.parse(row, mapping)
        except RowError as error:
            refused += 1
            assert error.field
            assert error.text
        else:
            assert parsed.messages
            assert all(isinstance(m.content, str) and isinstance(m.role, str) and m.role for m in parsed.messages)
            assert all(m.train in (True, False, None) for m in parsed.messages)
            for text in (parsed.tools, *(m.tool_calls for m in parsed.messages)):
                assert text is None or isinstance(json.loads(text), list)
            json.dumps([m.as_dict() for m in parsed.messages], ensure_ascii=False).encode()
    assert 100 < refused < 1900


@each_format
@pytest.mark.parametrize("writer", ["jsonl", "json", "wrapped", "csv"])
def test_rows_in_are_samples_and_problems_whatever_the_bytes(format, writer, tmp_path):
    rng = random.Random(11)
    rows = rows_of(format, 4)
    mapping = format.detect({k: [row[k] for row in rows] for k in rows[0]})[1]
    path = tmp_path / "data.x"
    WRITERS[writer][0](path, rows)
    whole = path.read_bytes()
    header = whole.index(b"\n") + 1 if writer == "csv" else 1
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(header, len(data))
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(header + 1, len(data))])])
        container = WRITERS[writer][1]
        n_rows = sum(1 for _ in read_records(path, container))
        items = list(read([path], Reading(container, format.name, mapping)))
        assert [item.row for item in items] == list(range(n_rows))
        samples = [item for item in items if isinstance(item, Sample)]
        assert len({sample.id for sample in samples}) == len(samples)
        assert len(samples) + sum(isinstance(item, Problem) for item in items) == n_rows
        if container == "jsonl":
            assert n_rows == sum(1 for line in path.read_bytes().split(b"\n") if line.strip())


@each_format
def test_records_of_jsonl_are_the_lines_themselves(format, tmp_path):
    path = tmp_path / "data.jsonl"
    write_jsonl(path, rows_of(format))
    records = list(read_records(path, "jsonl"))
    assert all(isinstance(record, Record) for record in records)
    assert b"".join(record.raw + b"\n" for record in records) == path.read_bytes()
