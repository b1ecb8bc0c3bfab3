"""Engine, migrations, and the two kinds of transaction.

SQLite needs both kinds. A transaction that begins deferred, reads, and then writes fails at once with "database is
locked" when another process has written in between; no timeout helps it. So ``writing()`` takes the write lock at its
beginning and waits for it, and ``reading()`` cannot write at all.
"""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from json import dumps
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from core.errors import UserError
from core.settings import settings

# Seconds a writer waits for its turn. The longest writer is a verdict table of a million rows.
BUSY_SECONDS = 60
DIALECTS = ("sqlite", "postgresql")
# Any fixed number; it names the lock of the one writer among PostgreSQL's advisory locks.
_WRITER_LOCK = 7_226_1


@dataclass(frozen=True, slots=True)
class Database:
    """An open database at the newest revision. Share one per process; connections are pooled."""

    engine: Engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout and cannot write."""
        options: dict[str, Any] = {}
        if self.engine.dialect.name == "postgresql":
            options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self.engine.connect().execution_options(**options) as conn, conn.begin():
            yield conn

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write: committed at the end, rolled back when an exception leaves the block."""
        with self.engine.connect().execution_options(lacuna_writes=True) as conn, conn.begin():
            if self.engine.dialect.name == "postgresql":
                # What is read here must still hold when it is written, as in SQLite, which has one writer at a time.
                conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")
            yield conn

    def close(self) -> None:
        """Closes the pooled connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """The database at ``url``, created and migrated as needed; web process and workers may all call this at once.

    Raises:
        UserError: a URL, driver or file that cannot be used, or a database written by a newer version.
    """
    address = _checked(url)
    address_text = address.render_as_string(hide_password=True)
    try:
        if address.get_backend_name() == "sqlite":
            path = Path(str(address.database))
            path.parent.mkdir(parents=True, exist_ok=True)
            engine = _sqlite_engine(address)
            alone: AbstractContextManager[None] = _file_lock(path.with_name(path.name + ".lock"))
        else:
            engine = create_engine(address, json_serializer=_json, hide_parameters=True)
            alone = nullcontext()
        database = Database(engine)
        try:
            with alone:
                _prepare(database, address_text)
        except BaseException:
            database.close()  # else its connection stays open on the server
            raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"The database {address_text} cannot be opened.",
            f"Its driver is not installed ({error.name}).",
            f"Install it into Lacuna's environment, for example: .venv/bin/pip install {error.name}",
        ) from error
    except (OSError, OperationalError, sqlite3.DatabaseError) as error:
        reason = str(error.orig) if isinstance(error, OperationalError) else str(error)
        raise UserError(
            f"The database {address_text} cannot be opened.",
            f"{reason.strip()}.",
            "Another process holds it: wait until it has let go, then try again."
            if "locked" in reason
            else "Check the path and its permissions, or set LACUNA_DATA_DIR or LACUNA_DATABASE_URL.",
        ) from error
    return database


@cache
def _opened(url: str) -> Database:
    return open_database(url)


def database() -> Database:
    """The process's database, as the settings name it; opened on first use."""
    return _opened(settings().database_url)


def _checked(url: str) -> URL:
    """The parsed URL, if it names a database that can be shared between processes."""
    example = "For example sqlite:////var/lib/lacuna/lacuna.db or postgresql+psycopg://user@host/lacuna."
    try:
        address = make_url(url)
        backend = address.get_backend_name()
        address.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UserError("LACUNA_DATABASE_URL is not a database URL.", f"{error}.", example) from error
    if backend not in DIALECTS:
        raise UserError(f"Lacuna cannot use {backend!r}.", f"There are: {', '.join(DIALECTS)}.", example)
    if backend == "sqlite" and (not address.database or address.database.startswith((":", "file:"))):
        raise UserError(
            f"{url!r} names no file.", "The app and its worker are two processes and share the file.", example
        )
    return address


_json = partial(dumps, allow_nan=False)


def _sqlite_engine(address: URL) -> Engine:
    # isolation_level None: the driver begins nothing by itself, the begin event below does.
    engine = create_engine(
        address,
        json_serializer=_json,
        hide_parameters=True,  # a database error ends in the log, the rows of a dataset must not
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS},
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        # In WAL mode this loses no committed data when a process is killed; a power cut may lose the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        # Some builds overwrite deleted pages with zeros, which makes deleting a dataset six times slower.
        connection.execute("PRAGMA secure_delete = FAST")

    @event.listens_for(engine, "begin")
    def _begun(conn: Connection) -> None:
        writes = conn.get_execution_options().get("lacuna_writes", False)
        conn.exec_driver_sql(f"PRAGMA query_only = {0 if writes else 1}")
        conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")

    return engine


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Holds the lock of ``path`` against other processes and threads; it ends with the process, however that dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _prepare(database: Database, address_text: str) -> None:
    """WAL mode for SQLite, then all migrations that are missing in one transaction."""
    # Imported here: a process that only lists what db offers needs no migration machinery.
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    if database.engine.dialect.name == "sqlite":
        # The mode stays with the file. Two processes that change it at the same moment get "database is locked" at
        # once, whatever the timeout; hence the file lock around this.
        raw = database.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()
    # A database at the newest revision opens without writing: also while it is locked or the disk is full.
    with database.reading() as conn:
        if (
            MigrationContext.configure(conn).get_current_revision()
            == ScriptDirectory.from_config(config).get_current_head()
        ):
            return
    with database.writing() as conn:
        config.attributes["connection"] = conn
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise UserError(
                f"The database {address_text} was written by another version of Lacuna.",
                f"{error}.",
                "Start the version that wrote it, or set LACUNA_DATA_DIR to a new folder.",
            ) from error
