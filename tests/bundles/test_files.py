"""A bundle may be anyone's file: bombs, escapes, foreign versions, absurd sizes and changed bytes are refused."""

import gzip
import hashlib
import json
import struct
import zipfile

import pytest

from core.bundles import files
from core.errors import UserError

MOST = 200 << 20


def packed(value):
    data = gzip.compress(json.dumps(value).encode(), mtime=0)
    return f"{hashlib.sha256(data).hexdigest()}.json.gz", data


@pytest.fixture
def good(tmp_path):
    """A small bundle: path, and the name of its artefact."""
    name, data = packed([{"text": "a"}, None])
    with files.writing(tmp_path / "good.lacuna") as writer:
        writer.table("samples", [{"ordinal": i} for i in range(3)])
        writer.artefact(name, data)
        writer.close("1.0", 5.0, {"run": "r"})
    return tmp_path / "good.lacuna", name


def read_all(path, most=MOST):
    with files.reading(path, most) as reader:
        rows = {t: list(reader.rows(t)) for t in reader.contents.tables}
        return rows, {a: reader.artefact(a) for a in reader.artefacts()}


def changed(path, out, change):
    """The bundle with ``change(members)`` made to its members, name to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    change(members)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out


def contents(members, **values):
    members["bundle.json"] = json.dumps(json.loads(members["bundle.json"]) | values).encode()


def listed(members, name, data):
    """Puts a member in and names it as it is: only its kind is wrong."""
    members[name] = data
    named = json.loads(members["bundle.json"])
    named["files"][name] = [len(data), hashlib.sha256(data).hexdigest()]
    members["bundle.json"] = json.dumps(named).encode()


def test_what_was_written_is_read(good):
    path, name = good
    rows, artefacts = read_all(path)
    assert rows == {"samples": [{"ordinal": 0}, {"ordinal": 1}, {"ordinal": 2}]}
    assert json.loads(gzip.decompress(artefacts[name])) == [{"text": "a"}, None]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: m.update({"../../evil.sh": b"x"}), "evil"),
        (lambda m: m.update({"/etc/passwd": b"x"}), "passwd"),
        (lambda m: m.update({"artefacts/..": b"x"}), "a bundle does not"),
        (lambda m: m.update({"tables/Samples.jsonl": b""}), "a bundle does not"),
        (lambda m: m.update({"artefacts/" + "a" * 64 + ".pkl": b"x"}), "a bundle does not"),
        (lambda m: m.update({"tables/more.jsonl": b"{}\n"}), "other files than it names"),
        (lambda m: m.pop("tables/samples.jsonl"), "other files than it names"),
        (lambda m: m.pop("bundle.json"), "no bundle.json"),
        (lambda m: m.update({"bundle.json": b"[1"}), "cannot be read"),
        (lambda m: m.update({"bundle.json": b"[" * 100_000}), "cannot be read"),
        (lambda m: contents(m, lacuna_bundle=2), "bundle of version 2.*reads version 1"),
        (lambda m: contents(m, lacuna_bundle="x"), "bundle of version x"),
        (lambda m: contents(m, tables={"samples": "many"}), "cannot be read"),
        (lambda m: contents(m, tables={"samples": float("inf")}), "cannot be read"),
        (lambda m: contents(m, made=float("inf")), "cannot be read"),
        (lambda m: contents(m, made=1e300), "cannot be read"),
        (lambda m: contents(m, tables={"samples": 4}), "4 were named"),
        (lambda m: contents(m, tables={}), "other tables"),
        (lambda m: m.update({"tables/samples.jsonl": m["tables/samples.jsonl"].replace(b"2", b"7")}), "not those"),
        (lambda m: m.update({"tables/samples.jsonl": m["tables/samples.jsonl"] + b"{}\n"}), "longer than was named"),
        (lambda m: listed(m, "tables/samples.jsonl", b"[1]\n" * 3), "not an object"),
        (lambda m: listed(m, "tables/samples.jsonl", b"{'a'\n" * 3), "not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused(good, tmp_path, change, complaint):
    with pytest.raises(UserError, match=complaint):
        read_all(changed(good[0], tmp_path / "bad.lacuna", change))


def test_an_artefact_is_what_its_name_says_and_no_bomb(good, tmp_path):
    path, name = good

    def refused(change, most=MOST):
        with pytest.raises(UserError) as error:
            read_all(changed(path, tmp_path / "bad.lacuna", change), most)
        return str(error.value)

    _, other = packed([1])
    assert "another content than its name" in refused(lambda m: listed(m, f"artefacts/{name}", other))
    bomb = gzip.compress(b"[" + b"0" * (100 << 20), mtime=0)
    named = f"artefacts/{hashlib.sha256(bomb).hexdigest()}.json.gz"
    assert "too large" in refused(lambda m: listed(m, named, bomb))
    for data in (b"no gzip", gzip.compress(b'{"a": 1}', mtime=0), gzip.compress(b"[1, 2]", mtime=0)[:-9]):
        named = f"artefacts/{hashlib.sha256(data).hexdigest()}.json.gz"
        assert "damaged or was changed" in refused(lambda m, n=named, d=data: listed(m, n, d))


def test_absurd_sizes_are_refused_before_anything_is_unpacked(good, tmp_path):
    with pytest.raises(UserError, match=r"too large.*LACUNA_MAX_UNPACKED_GB"):
        read_all(good[0], most=10)
    zeros = b"\n" * (100 << 20)
    with pytest.raises(UserError, match="too large"):
        read_all(changed(good[0], tmp_path / "bomb.lacuna", lambda m: listed(m, "tables/samples.jsonl", zeros)))
    data = bytearray(good[0].read_bytes())
    at = data.rfind(b"PK\x05\x06")
    struct.pack_into("<I", data, at + 12, 1 << 30)
    (tmp_path / "list.lacuna").write_bytes(data)
    with pytest.raises(UserError, match="list of files alone"):
        read_all(tmp_path / "list.lacuna")


def test_damage_is_said_to_be_damage(good, tmp_path):
    data = good[0].read_bytes()
    for bad in (b"", b"PK", data[: len(data) // 2], data[:40] + b"\xff" * 30 + data[70:], b"x" * 1000):
        (tmp_path / "bad.lacuna").write_bytes(bad)
        with pytest.raises(UserError):
            read_all(tmp_path / "bad.lacuna")
    (tmp_path / "twice.lacuna").write_bytes(data)
    with pytest.warns(UserWarning), zipfile.ZipFile(tmp_path / "twice.lacuna", "a") as archive:
        archive.writestr("bundle.json", "{}")
    with pytest.raises(UserError, match="a bundle does not"):
        read_all(tmp_path / "twice.lacuna")


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.writing(tmp_path / "x.lacuna") as writer:
        writer.table("samples", [{"a": 1}])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
