"""Files cut short or changed behind Lacuna's back: a clear word, and all goes on once they are back."""

import json
import os
import sqlite3

import pytest
from sqlalchemy.exc import DatabaseError

from core.__main__ import main
from core.errors import UserError
from core.services import artefacts, exports, runs, samples
from core.services.environment import hindrance
from core.services.measurements import _chunk_of
from core.settings import settings
from core.types import Filter
from db.session import database


@pytest.fixture
def seen(final_run):
    """A sample of the run and the artefacts that it is shown from."""
    sid = json.loads(next(iter(exports.verdict_lines(final_run.id))))["id"]
    assert samples.sample(final_run.id, sid, Filter()).pieces
    return sid, list(settings().artefacts.rglob("*.gz"))


@pytest.mark.parametrize("harm", ["cut", "changed", "emptied", "removed"])
def test_a_damaged_artefact_is_named_and_a_whole_one_shows_again(final_run, seen, harm):
    sid, files = seen
    whole = {file: file.read_bytes() for file in files}
    for file, data in whole.items():
        half = len(data) // 2
        file.unlink()
        if harm != "removed":
            file.write_bytes(
                {"cut": data[:half], "changed": data[:half] + b"x" + data[half + 1 :], "emptied": b""}[harm]
            )
    _chunk_of.cache_clear()
    with pytest.raises(UserError) as caught:
        samples.sample(final_run.id, sid, Filter())
    assert "damaged" in caught.value.what and str(settings().artefacts) in caught.value.why
    assert len(list(exports.verdict_lines(final_run.id))) == final_run.n_samples, "verdicts need no artefact"
    for file, data in whole.items():
        file.write_bytes(data)
    assert samples.sample(final_run.id, sid, Filter()).pieces


@pytest.mark.parametrize("harm", [lambda data: data[:9], lambda data: b"x" + data[1:]])
def test_what_is_measured_again_puts_a_damaged_artefact_right(elsewhere, harm):
    elsewhere()
    name = artefacts.write([{"said": "yes"}])
    path = artefacts.path(name)
    path.write_bytes(harm(path.read_bytes()))
    assert artefacts.write([{"said": "yes"}]) == name
    assert artefacts.read(name, 0) == {"said": "yes"}


@pytest.mark.skipif("LACUNA_TEST_POSTGRESQL" in os.environ, reason="a file of SQLite")
def test_a_damaged_database_is_a_state_and_no_bug(final_run, capsys):
    database().close()
    path = settings().data_dir / "lacuna.db"
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(DatabaseError) as caught:
        runs.list_runs()
    assert "damaged" in (hindrance(caught.value) or "")
    assert main(["runs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "damaged" in line
    path.write_bytes(whole)
    assert main(["runs"]) == 0
