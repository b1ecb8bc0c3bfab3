"""The app starts, and lets people delete, while the disk is full or the database is locked."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from core.services import jobs, room, runs, storage
from core.worker import supervisor
from db import session
from db.session import database

ROOT = Path(__file__).parents[2]

FULL = """
import errno, json, os, sys
from core.services import jobs, room, storage, uploads
from core.settings import settings
from core.worker import supervisor
from db import session

uploads.RESERVE = 0
folder = settings().data_dir
supervisor._open()
token = uploads.begin("large.bin", 4 << 20)
with uploads.open_writer(token) as writer:
    writer.write(bytes(4 << 20))
session.database().close()
session._opened.cache_clear()
assert (folder / "reserve").exists() and not (folder / "lacuna.db-wal").exists()
with (folder / "filler").open("wb", buffering=0) as file:
    try:
        while file.write(bytes(1 << 20)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
supervisor._open()
shown = [thing.name for thing in storage.overview().stored]
storage.delete("upload", token)
print(json.dumps({
    "shown": shown,
    "left": [thing.name for thing in storage.overview().stored],
    "free": os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize,
    "job": jobs.enqueue("scan", {}),
}))
"""


def test_on_a_full_disk_the_app_starts_and_deletes(tmp_path, monkeypatch):
    mount = f'mount -t tmpfs -o size=96m tmpfs "{tmp_path}" && exec "$0" -c "$1"'
    if subprocess.run(["unshare", "-Urm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets nobody but root mount a small disk")
    monkeypatch.setenv("LACUNA_DATA_DIR", str(tmp_path / "lacuna"))
    env = os.environ | {"PYTHONPATH": str(ROOT), "LACUNA_DEMO": "0"}
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount, sys.executable, FULL], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["shown"] == ["large.bin"] and said["left"] == []
    assert said["free"] >= 4 << 20 and said["job"] == 1


@pytest.fixture
def locked(monkeypatch):
    """The test's database with another process's write lock on it."""
    monkeypatch.setattr(session, "BUSY_SECONDS", 0.05)
    path = database().engine.url.database
    database().close()
    session._opened.cache_clear()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield holder
    holder.close()


def test_while_the_database_is_locked_the_app_starts_and_reads(locked, capsys):
    supervisor._open()
    assert "Starting although the database is locked" in capsys.readouterr().err
    assert jobs.list_jobs() == [] and runs.list_runs() == []
    assert storage.overview().stored == ()


def test_the_reserve_is_given_away_once_and_made_again():
    database()
    room.keep()
    assert room.spend() and not room.spend()
    room.keep()
    assert room.spend()
