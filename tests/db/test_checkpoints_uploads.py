"""The two small registers."""

from core.types import Checkpoint
from db import checkpoints, uploads


def test_checkpoints(db):
    made = Checkpoint("/m/checkpoint-10", "/m/base", 10, "run/checkpoint-10", "abc", "file")
    with db.writing() as conn:
        first = checkpoints.add(conn, "ten", "run", made, True, 5 << 32, {"layers": 2}, clock=lambda: 7.0)
        other = checkpoints.add(conn, "x", "other", Checkpoint("/x", None, None, "x", "def"), False, 1, {})
        second = checkpoints.add(conn, "twenty", "run", made, True, 1, {})
        assert checkpoints.get(conn, first) == {
            "id": first, "name": "ten", "group": "run", "path": "/m/checkpoint-10", "base": "/m/base", "step": 10,
            "label": "run/checkpoint-10", "fingerprint": "abc", "tokenizer": "file", "owned": True, "n_bytes": 5 << 32,
            "facts": {"layers": 2}, "card": None, "created": 7.0,
        }  # fmt: skip
        assert [c["id"] for c in checkpoints.list_checkpoints(conn)] == [first, second, other]
        checkpoints.delete(conn, first)
        assert checkpoints.get(conn, first) is None
        assert checkpoints.get(conn, other)["path"] == "/x"


def test_uploads(db):
    with db.writing() as conn:
        uploads.add(conn, "one", "a.zip", "/data/one.zip", 5 << 32, clock=lambda: 1.0)
        uploads.add(conn, "two", "b\x00.zip", "/data/two.zip", 3, clock=lambda: 2.0)
        uploads.finish(conn, "one", 7, "ff")
        assert uploads.get(conn, "one") == {
            "id": "one", "name": "a.zip", "path": "/data/one.zip", "size": 7, "sha256": "ff", "state": "done",
            "created": 1.0, "author": None,
        }  # fmt: skip
        assert [(u["id"], u["state"]) for u in uploads.list_uploads(conn)] == [("two", "announced"), ("one", "done")]
        uploads.delete(conn, "one")
        assert uploads.get(conn, "one") is None
