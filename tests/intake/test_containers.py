"""Bytes -> raw records: every container, and every way a file can be broken."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import tarfile
import tracemalloc
import zlib
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.intake import bytestreams
from core.intake.containers import detect_container, read_records
from core.intake.json_rows import elements
from core.intake.records import Record
from core.settings import read_settings
from core.types import Problem


def rows(path, container=None):
    return list(read_records(path, container or detect_container(path)))


def put(tmp_path, data, name="data"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def values(items):
    return [item.value if isinstance(item, Record) else item.text for item in items]


# -------------------------------------------------------------------------------------------------------- JSONL


def test_jsonl_keeps_the_bytes_of_each_line(tmp_path):
    lines = [b'{"b": 1.10,  "a": 1e2}\r', b' {"x":"\\u00e9\xc3\xa9"}', b'{"n": 123456789012345678901234567890}\t']
    path = put(tmp_path, b"\n\n" + b"\n  \n".join(lines) + b"\n\r\n")
    found = rows(path)
    assert [r.raw for r in found] == lines
    assert [r.line for r in found] == [3, 5, 7]
    assert [r.row for r in found] == [0, 1, 2]
    assert found[2].value["n"] == 123456789012345678901234567890
    assert all(r.notes == () for r in found)


def test_byte_order_mark_is_stripped_at_the_start_only(tmp_path):
    path = put(tmp_path, b'\xef\xbb\xbf{"a": 1}\n\xef\xbb\xbf{"a": 2}\n{"a": 3}\n')
    found = rows(path, "jsonl")
    assert found[0].raw == b'{"a": 1}'
    assert isinstance(found[1], Problem)
    assert found[2].value == {"a": 3}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_rewritten_with_a_note(tmp_path, encoding):
    text = '{"a": "é漢😀"}\n{"a": "two"}\n'
    found = rows(put(tmp_path, text.encode(encoding)))
    assert [r.raw.decode() for r in found] == text.splitlines()
    assert all("rewritten from UTF-" in r.notes[0] for r in found)


def test_half_a_surrogate_pair_in_utf16_spoils_its_own_row(tmp_path):
    data = '{"a": 1}\n{"a": "?"}\n{"a": 3}\n'.encode("utf-16-le").replace(b"?\0", b"\x3d\xd8")
    found = rows(put(tmp_path, b"\xff\xfe" + data))
    assert [isinstance(r, Record) for r in found] == [True, False, True]
    assert "UTF-8" in found[1].text


def test_utf16_that_ends_within_a_character_says_so(tmp_path):
    found = rows(put(tmp_path, '{"a": 1}\n'.encode("utf-16") + b"{"))
    assert found[0].value == {"a": 1}
    assert "middle of a UTF-16" in found[1].text


def test_half_a_line_at_the_end_is_a_problem_with_its_number(tmp_path):
    found = rows(put(tmp_path, '{"a": 1}\n\n{"a": "tw'))
    assert found[0].value == {"a": 1}
    assert (found[1].line, found[1].row, found[1].raw) == (3, 1, b'{"a": "tw')
    assert "ends in the middle" in found[1].text
    assert rows(put(tmp_path, '{"a": 1}\n{"a": 2}'))[1].value == {"a": 2}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": [-Infinity]}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large for a 64-bit float"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"[1]", "a list, not a JSON object"),
        (b'"x"', "text, not a JSON object"),
        (b"null", "null, not a JSON object"),
        (b'{"a": "caf\xe9"}', "not UTF-8: byte 0xE9 at position 11"),
        (b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"7" * 5000 + b"}", "digits"),
        (b'{"a": "\0"}', "not valid JSON"),
    ],
)
def test_a_line_that_is_not_an_object_is_a_problem(tmp_path, line, why):
    found = rows(put(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 3}\n'))
    assert [r.row for r in found] == [0, 1, 2]
    assert why in found[1].text
    assert (found[1].line, found[1].file, found[1].raw) == (2, "data", line[:2000])
    assert found[2].value == {"a": 3}


def test_duplicate_keys_are_noted_and_the_last_wins(tmp_path):
    found = rows(put(tmp_path, '{"a": 1, "b": {"c": 1, "c": 2}, "a": 3}\n{"a": 1}\n'))
    assert found[0].value == {"a": 3, "b": {"c": 2}}
    assert found[0].notes == ("duplicate key 'c': the last value counts", "duplicate key 'a': the last value counts")
    assert found[1].notes == ()


def test_a_line_of_ten_megabytes(tmp_path):
    text = "x" * 10_000_000
    found = rows(put(tmp_path, json.dumps({"a": text}) + '\n{"a": 1}\n'))
    assert found[0].value == {"a": text}
    assert found[1].value == {"a": 1}


@pytest.mark.parametrize("container", ["jsonl", "json", "csv"])
def test_a_row_above_the_limit_is_a_problem(tmp_path, monkeypatch, container):
    monkeypatch.setattr(bytestreams, "ROW_BYTES", 5000)
    monkeypatch.setattr(bytestreams, "CHUNK", 700)
    given = [{"a": "1", "b": "2"}, {"a": "x" * 9000, "b": "y"}, {"a": "x" * 3000, "b": "z"}]
    data = {
        "jsonl": "".join(json.dumps(r) + "\n" for r in given),
        "json": json.dumps(given),
        "csv": "a,b\n" + "".join(f"{r['a']},{r['b']}\n" for r in given),
    }[container]
    found = rows(put(tmp_path, data), container)
    assert [r.row for r in found] == [0, 1, 2]
    assert "longer than 5,000 bytes" in found[1].text
    assert (found[0].value, found[2].value) == (given[0], given[2])


@pytest.mark.parametrize("container", ["jsonl", "json", "csv"])
def test_memory_is_bounded_whatever_the_row(tmp_path, monkeypatch, container):
    monkeypatch.setattr(bytestreams, "ROW_BYTES", 1 << 20)
    short, long = json.dumps({"a": "x" * 500}), json.dumps({"a": "x" * (40 << 20)})
    many = [short] * 4000
    text = {
        "jsonl": "\n".join([*many, long, short]),
        "json": "[" + ",\n".join([*many, long, short]) + "]",
        "csv": "a\n" + "\n".join(["x" * 500] * 4000 + ["x" * (40 << 20), "x"]),
    }[container]
    path = put(tmp_path, text)
    tracemalloc.start()
    n = sum(isinstance(r, Record) for r in read_records(path, container))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n == 4001
    assert peak < 20 << 20


# --------------------------------------------------------------------------------------------------------- JSON


def as_pairs(text):
    """Order, duplicates and the spelling of numbers kept: what 'untouched' means."""
    return json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)


AWKWARD = (
    '[{"b": 1.10, "a": -0, "e": 1E5,\r\n\t"s": "\\u00e9\\n,]}[{\\"\\\\", "n": {"x": [1, {"y": []}]}} ,\n'
    '  {"big": 12345678901234567890123, "q": "\\\\\\\\"},\n\n{},{"": ""}\n]\n'
)


def test_elements_are_slices_on_one_line(tmp_path):
    found = rows(put(tmp_path, AWKWARD))
    assert [as_pairs(r.raw) for r in found] == as_pairs(AWKWARD)
    assert all(b"\n" not in r.raw and b"\r" not in r.raw for r in found)
    assert [r.line for r in found] == [1, 3, 5, 5]
    compact = '{"b": 1.10, "a": -0, "e": 1E5, "s": "\\u00e9\\n,]}[{\\"\\\\", "n": {"x": [1, {"y": []}]}}'
    assert found[0].raw.decode() == compact


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_slices_do_not_depend_on_the_chunks(monkeypatch, size):
    monkeypatch.setattr(bytestreams, "CHUNK", 0)
    data = AWKWARD.encode()
    found = list(elements(iter([data[i : i + size] for i in range(0, len(data), size)])))
    assert [(e.line, e.data, e.fault) for e in found] == [(e.line, e.data, e.fault) for e in elements(iter([data]))]


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ('{"data": [{"a": 1}, {"a": 2}]}', 2),
        (
            '{\n "version": "1.0", "meta": {"rows": [1]},\n "rows": [\n {"a": 1},\n {"a": 2}, {"a": 3}]\n, "end": [1]}',
            3,
        ),
        ('{"messages": [{"role": "user", "content": "x"}]}', 1),
        ('{"turns": [{"from": "human", "value": "x"}]}', 1),
        ('{\n  "a": 1,\n  "b": [{"c": 2}]\n}', 1),
        ('{\n  "instruction": "x",\n  "b": [{"c": 2}]\n}\n{\n  "a": 2}', 2),
        ('[{"a": 1}]', 1),
        ('[\n{"a": 1},\n{"a": 2},\n]', 2),
    ],
)
def test_lists_wrapped_in_an_object_and_objects_over_lines(tmp_path, text, n):
    found = rows(put(tmp_path, text))
    # An object that holds a list of objects without turns is taken for the wrapping of that list.
    assert len(found) == n
    assert all(isinstance(r, Record) for r in found)


def test_a_second_list_in_the_wrapping_is_not_lost_silently(tmp_path):
    found = rows(put(tmp_path, '{"train": [{"a": 1}], "note": "x", "test": [{"a": 2}]}'))
    assert found[0].value == {"a": 1}
    assert "'test'" in found[1].text
    assert found[1].line == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1},\n{"a": 2},\n{"a": "thr', [True, True, "not valid JSON"]),
        ('[{"a": 1},\n{"a": 2}', [True, True, "not closed"]),
        ('[{"a": 1},\n{"a": 2},\n', [True, True, "not closed"]),
        ('[{"a": 1},\n{"a": NaN},\n{"a": 2}]', [True, "NaN is not JSON", True]),
        ('[{"a": 1}, 5, {"a": [1, 2,]}, {"b": 1]}, {"a": 2}]', [True, "a number", "valid", "valid", True]),
        ('[{"a": [1}, {"a": 1}, {"b": 1, {"a": 2}]', ["valid", True, "valid"]),
        ('[{"a": 1}]\n[{"a": 2}]', [True, "behind the end"]),
        ('{"a": 1}\n{"a": [}\n{"a": 2},{"a": 3}}', [True, "valid", True, True, "valid"]),
    ],
)
def test_a_broken_element_harms_no_other(tmp_path, text, expected):
    found = rows(put(tmp_path, text), "json")
    assert len(found) == len(expected)
    for item, wanted in zip(found, expected, strict=True):
        assert isinstance(item, Record) if wanted is True else wanted in item.text


def test_random_lists_equal_what_json_reads(tmp_path):
    rng = random.Random(5)
    for _ in range(200):
        given = [
            {rng.choice('ab"\\{é') * rng.randrange(3): rng.choice(["}]", '",', "\\", [1, {"x": "["}], 2**64, None])}
            for _ in range(rng.randint(1, 4))
        ]
        text = json.dumps(given, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
        assert values(rows(put(tmp_path, text), "json")) == given


# ---------------------------------------------------------------------------------------------------------- CSV


def test_csv_cells_with_newlines_quotes_and_crlf(tmp_path):
    path = put(tmp_path, '\ufeffid,q,a\r\n1,"two\r\nlines, ""quoted""",x\r\n\r\n2,,"é\n\n"\r\n')
    found = rows(path)
    assert detect_container(path) == "csv"
    assert values(found) == [
        {"id": "1", "q": 'two\r\nlines, "quoted"', "a": "x"},
        {"id": "2", "q": "", "a": "é\n\n"},
    ]
    assert [r.line for r in found] == [2, 5]
    assert found[1].raw.decode() == '{"id": "2", "q": "", "a": "é\\n\\n"}'


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters(tmp_path, delimiter):
    text = 'prompt,completion\none; two; three\tx,b\n"a, b","c\td"\n'.replace(",", "@")
    path = put(tmp_path, text.replace("a@ b", "a b").replace("@", delimiter), "data.csv")
    if delimiter == ",":
        assert rows(path)[0].value == {"prompt": "one; two; three\tx", "completion": "b"}
    else:
        assert list(rows(put(tmp_path, f"a{delimiter}b\n1,5{delimiter}2\n", "d"))[0].value.values()) == ["1,5", "2"]


def test_broken_csv_rows_harm_no_other(tmp_path):
    data = b'a,b\n1,2\n1,2,3\n4\n"x"y,5\ncaf\xe9,6\n7,8\n9,"open\nend'
    found = rows(put(tmp_path, data, "d.csv"))
    assert [r.row for r in found] == list(range(7))
    assert [r.line for r in found] == [2, 3, 4, 5, 6, 7, 8]
    texts = values(found)
    assert texts[0] == {"a": "1", "b": "2"}
    assert "3 cells, the header 2" in texts[1]
    assert "1 cells" in texts[2]
    assert "quotes" in texts[3]
    assert "0xE9" in texts[4]
    assert texts[5] == {"a": "7", "b": "8"}
    assert "Lines 8 to 9 are not CSV" in texts[6]


def test_a_row_of_many_quoted_lines_is_within_the_limit_too(tmp_path, monkeypatch):
    monkeypatch.setattr(bytestreams, "ROW_BYTES", 3000)
    cells = ",".join(['"' + "x" * 100 + "\n" + "y" * 100 + '"'] * 100)
    found = rows(put(tmp_path, f"a,b\n1,2\n{cells}\n3,4\n", "d.csv"))
    assert "Lines 3 to 18 are not CSV: the row is longer than 3,000 bytes" in found[1].text
    assert (found[0].value, found[-1].value) == ({"a": "1", "b": "2"}, {"a": "3", "b": "4"})


def test_csv_with_a_column_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match="column 'a' more than once"):
        rows(put(tmp_path, "a,b,a\n1,2,3\n", "d.csv"))


def test_one_csv_column_needs_the_suffix(tmp_path):
    assert values(rows(put(tmp_path, 'text\n"one, two"\nthree\n', "d.csv"))) == [
        {"text": "one, two"},
        {"text": "three"},
    ]
    with pytest.raises(UserError, match="text that begins with 'Dear all'"):
        detect_container(put(tmp_path, "Dear all\nthis is a letter\n", "d.txt"))


# ------------------------------------------------------------------------------------------------------ Parquet


def test_parquet_keeps_structure_and_exact_numbers(tmp_path):
    given = [
        {"id": 2**63 - 1, "x": 0.1, "m": [{"role": "user", "content": "é"}], "n": None},
        {"id": -1, "x": 1e-300, "m": [{"role": "a", "content": None, "calls": [{"k": 1}]}, None], "n": "t"},
    ]
    path = tmp_path / "d"
    pq.write_table(pa.Table.from_pylist(given), path)
    found = rows(path)
    assert [r.line for r in found] == [None, None]
    assert found[0].value == given[0]
    assert found[1].value["m"] == [{"role": "a", "calls": [{"k": 1}]}, None]
    assert json.loads(found[0].raw)["m"][0] == {"role": "user", "content": "é", "calls": None}
    assert [json.loads(r.raw)["x"] for r in found] == [0.1, 1e-300]
    assert [json.loads(r.raw)["id"] for r in found] == [2**63 - 1, -1]


def test_parquet_types_json_does_not_have(tmp_path):
    table = pa.table(
        {
            "when": pa.array([datetime(2024, 5, 1, 12, tzinfo=UTC)]),
            "ns": pa.array([1714564800000000001], pa.timestamp("ns")),
            "day": [date(2024, 5, 1)],
            "price": [Decimal("1.10")],
            "blob": [b"\xff\x00"],
            "name": [b"text"],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "u": pa.array([2**64 - 1], pa.uint64()),
            "kind": pa.array(["a"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "d")
    (found,) = rows(tmp_path / "d")
    assert found.value == {
        "when": "2024-05-01T12:00:00+00:00",
        "ns": "2024-05-01T12:00:00.000000001",
        "day": "2024-05-01",
        "price": "1.10",
        "blob": "/wA=",
        "name": "text",
        "map": {"k": 1},
        "u": 2**64 - 1,
        "kind": "a",
    }
    assert "column 'blob': bytes (base64) written as text" in found.notes
    assert len(found.notes) == 6


def test_parquet_rows_with_numbers_json_lacks_are_problems(tmp_path):
    pq.write_table(pa.table({"a": ["x", "y", "z"], "b": [[1.0], [math.nan], [math.inf]]}), tmp_path / "d")
    found = rows(tmp_path / "d")
    assert found[0].value == {"a": "x", "b": [1.0]}
    assert [p.field for p in found[1:]] == ["b", "b"]
    assert "nan" in found[1].text
    assert b'"a": "y"' in found[1].raw


def test_parquet_gzipped_around_and_cut(tmp_path):
    pq.write_table(pa.table({"a": list(range(5000))}), tmp_path / "d")
    whole = (tmp_path / "d").read_bytes()
    path = put(tmp_path, gzip.compress(whole), "d.gz")
    assert [r.value["a"] for r in rows(path)] == list(range(5000))
    for broken in (whole[:-20], gzip.compress(whole)[:-20]):
        with pytest.raises(UserError, match="not a whole Parquet file"):
            rows(put(tmp_path, broken, "e"))


def test_a_damaged_row_group_of_parquet_harms_no_other(tmp_path):
    table = pa.table({"a": [f"row {i} {random.Random(i).random()}" for i in range(4000)]})
    pq.write_table(table, tmp_path / "d", row_group_size=1000, compression="zstd", use_dictionary=False)
    start = pq.ParquetFile(tmp_path / "d").metadata.row_group(2).column(0).data_page_offset
    data = bytearray((tmp_path / "d").read_bytes())
    data[start + 200 : start + 4000] = bytes(3800)
    found = rows(put(tmp_path, bytes(data)))
    good = [r for r in found if isinstance(r, Record)]
    assert len(good) == len(found) - 1 == 3000
    assert [r.value["a"] for r in good] == table["a"].to_pylist()[:2000] + table["a"].to_pylist()[3000:]
    assert "Row group 2 is damaged, 1,000 of its rows are lost" in found[2000].text


# --------------------------------------------------------------------------------------------------------- gzip


def test_gzip_of_several_members_and_padding(tmp_path):
    data = gzip.compress(b'{"a": 1}\n{"a"') + gzip.compress(b": 2}\n") + b"\0" * 20
    assert values(rows(put(tmp_path, data))) == [{"a": 1}, {"a": 2}]


def test_a_gzip_cut_short_keeps_what_came_before(tmp_path):
    rng = random.Random(1)
    lines = [json.dumps({"a": rng.random()}) for _ in range(3000)]
    packed = gzip.compress("\n".join(lines).encode())
    found = rows(put(tmp_path, packed[: len(packed) // 2]))
    good = [r for r in found if isinstance(r, Record)]
    assert len(good) == len(found) - 1 > 1000
    assert [r.raw.decode() for r in good] == lines[: len(good)]
    assert "ends early" in found[-1].text
    assert found[-1].line >= len(good)


def test_a_damaged_gzip_keeps_what_came_before(tmp_path):
    rng = random.Random(1)
    lines = [json.dumps({"a": rng.random()}) for _ in range(9000)]
    packed = bytearray(gzip.compress("\n".join(lines).encode()))
    packed[len(packed) // 2 :][:1] = b"\0"
    packed[len(packed) // 2 : len(packed) // 2 + 300] = bytes(300)
    found = rows(put(tmp_path, bytes(packed)))
    assert values(found)[0] == json.loads(lines[0])
    assert "damaged" in found[-1].text


def bomb(n):
    """n MiB of one letter in a gzip of n kB."""
    packer = zlib.compressobj(9, wbits=31)
    piece = b"a" * (1 << 20)
    return b"".join(packer.compress(piece) for _ in range(n)) + packer.flush()


def test_a_gzip_bomb_is_refused_by_ratio(tmp_path):
    path = put(tmp_path, bomb(66))
    for container in ("jsonl", "parquet"):
        with pytest.raises(UserError, match="gzip bomb"):
            rows(path, container)


def test_unpacking_stops_at_the_absolute_limit(tmp_path, monkeypatch):
    limited = read_settings({"LACUNA_MAX_UNPACKED_GB": "0.002", "LACUNA_DATA_DIR": str(tmp_path)})
    monkeypatch.setattr(bytestreams, "settings", lambda: limited)
    path = put(tmp_path, gzip.compress(random.Random(0).randbytes(3 << 20)))
    with pytest.raises(UserError, match="LACUNA_MAX_UNPACKED_GB"):
        rows(path, "jsonl")


def test_rows_that_repeat_are_no_bomb(tmp_path):
    data = b'{"text": "the same short row"}\n' * (70 << 20 >> 5)
    path = put(tmp_path, gzip.compress(data, 9))
    assert len(data) / path.stat().st_size > 200
    assert sum(map(len, bytestreams.unpacked(bytestreams.File(path, "d")))) == len(data)


# ---------------------------------------------------------------------------------------------------- detection


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b'{"a": 1}', "jsonl"),
        (b'\n\n{"a": 1}\n{"a": 2}\n', "jsonl"),
        (b'{"a": \n{"a": 2}\n', "jsonl"),
        (b'{"a": 1', "jsonl"),
        (b'oops\n{"a": 2}\n{"a": 3}\n', "jsonl"),
        (b'[1]\n{"a": 2}\n', "jsonl"),
        (b'{"data": [{"a": 1}]}\n{"data": [{"a": 1}]}\n', "jsonl"),
        (b' [\n{"a": 1}]', "json"),
        (b'[{"a": "' + b"x" * (2 << 20), "json"),
        (b'{"a": "' + b"x" * (2 << 20) + b'"}\n', "jsonl"),
        (b'{"rows": [{"a": "' + b"x" * (2 << 20) + b'"}]}\n', "json"),
        (b"a,b\n1,2\n", "csv"),
        (b"a\tb\n1\t2\n", "csv"),
        (b"PAR1\0\0", "parquet"),
    ],
)
def test_containers_are_told_by_content(tmp_path, data, container):
    assert detect_container(put(tmp_path, data, "data.bin")) == container
    assert detect_container(put(tmp_path, gzip.compress(data), "data.bin")) == container


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"), io.BytesIO())
    return out.getvalue()


HEADERS = ["parent,child", "PARENT,CHILD", "par1,par2", "arrow1,arrow2", "bzh11ay,b", "rar!,b", "gguf,size"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_spells_another_files_mark_is_a_header(tmp_path, header):
    assert detect_container(put(tmp_path, f"{header}\n1,2\n3,4\n")) == "csv"


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"PK\x03\x04rest", "a zip archive"),
        (tar(), "a tar archive"),
        (gzip.compress(tar(), mtime=0), "a tar archive"),
        (gzip.compress(gzip.compress(b"x", mtime=0), mtime=0), "gzip inside gzip"),
        (b"\x89PNG\r\n\x1a\n", "a PNG image"),
        (b"\x80\x04\x95\0\0", "a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\x01\x02\x03\x04" * 50, "binary data"),
        (b"just words", "text that begins with 'just words'"),
        (b"\x1f\x8b\x08damaged", "damaged"),
    ],
)
def test_other_files_are_named_and_refused(tmp_path, data, looks):
    with pytest.raises(UserError) as caught:
        detect_container(put(tmp_path, data))
    assert looks in caught.value.why
    assert "JSONL" in caught.value.todo


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b" \n\n", gzip.compress(b"", mtime=0)])
def test_empty_files(tmp_path, data):
    path = put(tmp_path, data, "data.jsonl")
    with pytest.raises(UserError, match=r"data\.jsonl holds no rows"):
        detect_container(path)
    with pytest.raises(UserError, match=r"holds no rows"):
        rows(path, "jsonl")


def test_files_without_rows(tmp_path):
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "p")
    for path in (put(tmp_path, "a,b\n", "c.csv"), put(tmp_path, "[]", "j"), tmp_path / "p"):
        with pytest.raises(UserError, match="holds no rows"):
            rows(path)


def test_paths_that_are_no_files(tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        detect_container(tmp_path)
    with pytest.raises(UserError, match="There is no file missing"):
        detect_container(tmp_path / "missing.jsonl")
    with pytest.raises(UserError, match=r"no container named 'jsonll'.*Did you mean 'jsonl'"):
        rows(tmp_path, "jsonll")


def test_a_given_name_is_the_one_in_messages(tmp_path):
    path = put(tmp_path, "{\n", "xyz.bin")
    (found,) = read_records(path, "jsonl", 5, name="rows.jsonl")
    assert (found.file, found.row) == ("rows.jsonl", 5)
    with pytest.raises(UserError, match=r"rows\.jsonl holds no rows"):
        detect_container(put(tmp_path, "", "abc"), name="rows.jsonl")


def test_stopping_early_leaves_no_file_open(tmp_path):
    path = put(tmp_path, '{"a": 1}\n' * 1000)
    reader = read_records(path, "jsonl")
    next(reader)
    reader.close()
    path.rename(tmp_path / "moved")
