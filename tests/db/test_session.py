"""Opening, migrating, and the two kinds of transaction."""

import fcntl
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from core.errors import UserError
from core.settings import settings
from core.types import Column
from db import runs, session, uploads, verdicts
from db.models import metadata
from db.session import open_database
from tests import postgresql
from tests.db.conftest import STATUS

ROOT = Path(__file__).parents[2]
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def test_models_and_migrations_agree(db):
    with db.reading() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []


def test_opening_twice_keeps_what_is_there(db):
    with db.writing() as conn:
        uploads.add(conn, "token", "a.zip", "/data/a.zip", 3)
    again = open_database(db.engine.url.render_as_string(hide_password=False))
    with again.reading() as conn:
        assert uploads.get(conn, "token")["name"] == "a.zip"
    again.close()


def test_confidences_that_a_proof_had_moved_come_back(db, make_dataset, make_sample, make_run):
    """Older versions moved a confidence and kept the verdict's own one in a second column."""
    columns = [Column(name, "number", name) for name in ("confidence", "confidence_before_proof")]
    moved = make_run(make_dataset([make_sample(i) for i in range(3)]).id, (*columns, STATUS))
    plain = make_run(moved.spec.dataset_id, name="without proofs")
    with db.writing() as conn:
        cells = {"confidence": [0.9, 0.4, None], "confidence_before_proof": [0.8, None, None], "status": [None] * 3}
        verdicts.write_verdicts(conn, moved, cells, range(3), ["a", "b", "c"])
        older = Config()
        older.set_main_option("script_location", str(ROOT / "db" / "migrations"))
        older.attributes["connection"] = conn
        command.downgrade(older, "0007")
    again = open_database(db.engine.url.render_as_string(hide_password=False))
    with again.reading() as conn:
        run = runs.get_run(conn, moved.id)
        assert [c.name for c in run.columns] == ["confidence", "status"]
        own = verdicts.verdict_columns(conn, run, ["confidence"])["confidence"]
        assert runs.get_run(conn, plain.id).columns == plain.columns
        assert "confidence_before_proof" not in str(inspect(conn).get_columns(f"verdicts_{run.id}"))
    np.testing.assert_array_equal(own, [0.8, 0.4, np.nan])
    again.close()


@pytest.mark.skipif(bool(postgresql.SERVER), reason="of SQLite")
def test_sqlite_is_set_up(db):
    for transaction in (db.reading, db.writing):
        with transaction() as conn:
            assert conn.execute(text("PRAGMA journal_mode")).scalar() == "wal"
            assert conn.execute(text("PRAGMA foreign_keys")).scalar() == 1
            assert conn.execute(text("PRAGMA busy_timeout")).scalar() == session.BUSY_SECONDS * 1000


def test_processes_open_a_fresh_database_at_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'new' / 'lacuna.db'}"
    code = (
        "import sys; sys.stdin.read(1); from db.session import open_database; db = open_database(sys.argv[1])\n"
        "with db.reading() as conn: print(conn.exec_driver_sql('SELECT count(*) FROM jobs').scalar())"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, url], text=True, cwd=ROOT, **PIPES) for _ in range(4)]
    for process in started:  # all are up before the first is let go
        process.stdin.write("g")
        process.stdin.flush()
    assert [(p.communicate()[0].strip(), p.returncode) for p in started] == [("0", 0)] * 4


def test_preparing_is_done_alone(tmp_path, monkeypatch):
    tried = []

    def prepare(database, shown):
        with (tmp_path / "lacuna.db.lock").open() as file, pytest.raises(BlockingIOError):
            tried.append(fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
        tried.append(shown)

    monkeypatch.setattr(session, "_prepare", prepare)
    url = f"sqlite:///{tmp_path / 'lacuna.db'}"
    open_database(url).close()
    assert tried == [url]


def test_reading_cannot_write(db):
    with db.reading() as conn, pytest.raises(DBAPIError, match=r"read-?only"):
        uploads.add(conn, "token", "a", "/a", 1)
    with db.writing() as conn:  # the same pooled connection
        uploads.add(conn, "token", "a", "/a", 1)


def test_reading_sees_one_state_throughout(db):
    with db.reading() as conn:
        assert uploads.list_uploads(conn) == []
        with db.writing() as other:
            uploads.add(other, "token", "a", "/a", 1)
        assert uploads.list_uploads(conn) == []
    with db.reading() as conn:
        assert len(uploads.list_uploads(conn)) == 1


def test_an_exception_rolls_back(db):
    with pytest.raises(RuntimeError), db.writing() as conn:
        uploads.add(conn, "token", "a", "/a", 1)
        raise RuntimeError
    with db.reading() as conn:
        assert uploads.list_uploads(conn) == []


def test_writers_that_read_first_wait_for_each_other(db):
    with db.writing() as conn:
        uploads.add(conn, "token", "a", "/a", 0)
    failed = []

    def count():
        try:
            for _ in range(25):
                with db.writing() as conn:
                    size = uploads.get(conn, "token")["size"]
                    uploads.finish(conn, "token", size + 1, "")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with db.reading() as conn:
        assert uploads.get(conn, "token")["size"] == 100


@pytest.mark.skipif(bool(postgresql.SERVER), reason="of SQLite")
def test_why_writing_is_not_deferred(db):
    """What ``writing()`` avoids: a deferred transaction that read before another wrote can never write."""
    with db.writing() as conn:
        uploads.add(conn, "token", "a", "/a", 0)
    connection = sqlite3.connect(db.engine.url.database, isolation_level=None, timeout=60)
    connection.execute("BEGIN DEFERRED")
    connection.execute("SELECT * FROM uploads").fetchall()
    with db.writing() as conn:
        uploads.finish(conn, "token", 1, "")
    with pytest.raises(sqlite3.OperationalError, match="locked"):  # at once, whatever the timeout
        connection.execute("UPDATE uploads SET size = 2")
    connection.close()


def test_downgrade_leaves_no_table(db):
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "db" / "migrations"))
    with db.writing() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, "base")
        assert set(inspect(conn).get_table_names()) == {"alembic_version"}


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("mysql://user@host/lacuna", "mysql"),
        ("nonsense", "not a database URL"),
        ("oracel://host", "not a database URL"),
    ],
)
def test_urls_that_cannot_be_used(url, named):
    with pytest.raises(UserError, match=named):
        open_database(url)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pg8000", None)
    with pytest.raises(UserError, match="pg8000") as caught:
        open_database("postgresql+pg8000://user:secret@host/lacuna")
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'lacuna.db'}")


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "lacuna.db").write_text("not a database " * 100)
    with pytest.raises(UserError, match="not a database"):
        open_database(f"sqlite:///{tmp_path / 'lacuna.db'}")


def test_a_database_that_another_process_holds(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "BUSY_SECONDS", 0)
    holder = sqlite3.connect(tmp_path / "lacuna.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="Another process holds it"):
        open_database(f"sqlite:///{tmp_path / 'lacuna.db'}")
    holder.close()


def test_a_database_of_a_newer_version(db):
    with db.writing() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="another version"):
        open_database(db.engine.url.render_as_string(hide_password=False))


def test_the_process_has_one_database(tmp_path, monkeypatch):
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LACUNA_DATABASE_URL", raising=False)
    settings.cache_clear()
    try:
        first = session.database()
        assert session.database() is first
        assert (tmp_path / "lacuna.db").exists()
        first.close()
    finally:
        settings.cache_clear()
