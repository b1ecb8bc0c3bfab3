"""What is no fault of a job: a full disk, a locked or lost database, a lost network share."""

from __future__ import annotations

import errno
import shutil
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

from core.errors import UserError
from core.settings import settings

FULL = "the disk is full"
DAMAGED = (
    "the database file is damaged (stop Lacuna, put back a copy or rebuild it with sqlite3's .recover, start again)"
)
# Bytes that SQLite wants for its index of the log, and some more; below them nothing can be opened.
LEAST = 64 << 10
_FILES = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: "the disk quota is used up",
    errno.EIO: "the disk cannot be read or written",
    errno.EROFS: "the disk is read-only",
    errno.ESTALE: "a network share is lost",
    errno.ENOTCONN: "a network share is lost",
    errno.EHOSTDOWN: "a network share is lost",
}
# Primary result codes of SQLite (sqlite.org/rescode.html); anything else it says is about the statement, which is ours.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "the database is locked by another process",
    sqlite3.SQLITE_LOCKED: "the database is locked by another process",
    sqlite3.SQLITE_FULL: FULL,
    sqlite3.SQLITE_IOERR: "the database file cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_READONLY: "the database file is read-only",
    sqlite3.SQLITE_NOMEM: "memory is short",
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
}
# Of torch.OutOfMemoryError, of the allocator for the processor and of mmap; a thread needs memory for its stack.
_REFUSED = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "can't start new thread",
)  # fmt: skip
# Classes of SQLSTATE (PostgreSQL manual, appendix A): connection, resources, operator, lock not available, retry.
_POSTGRESQL = ("08", "53", "57", "55P03", "40")


def hindrance(error: BaseException) -> str | None:
    """Why the machine, not the job, is at fault, in words that follow "waiting:"; None where it is not."""
    if isinstance(error, DBAPIError):
        return _database(error)
    if isinstance(error, sqlite3.Error):  # raised while a connection is opened
        return _sqlite(error)
    if isinstance(error, UserError) and error.__cause__ is not None:
        return hindrance(error.__cause__)  # said in other words where it happened
    return _FILES.get(error.errno or 0) if isinstance(error, OSError) else None


def is_full(error: BaseException) -> bool:
    """Whether the disk has no room left."""
    return hindrance(error) == FULL


def exhausted(error: BaseException) -> bool:
    """Whether memory was refused: by Python and NumPy, by the system, or by PyTorch, which says so in words.

    An error for people is looked through to what it was made of.
    """
    if isinstance(error, UserError):
        reason = error.__cause__ or error.__context__
        while reason is not None and not exhausted(reason):
            reason = reason.__cause__ or reason.__context__
        return reason is not None
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _REFUSED)
    )


def _sqlite(error: sqlite3.Error) -> str | None:
    # The low byte is the primary code of an extended one.
    reason = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
    # Memory that processes share needs a file; without room for it SQLite speaks of reading and writing.
    return FULL if reason is not None and _no_room() and "written" in reason else reason


def _no_room() -> bool:
    try:
        return shutil.disk_usage(settings().data_dir).free < LEAST
    except OSError:
        return False


def _database(error: DBAPIError) -> str | None:
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite(error.orig)
    state = getattr(error.orig, "sqlstate", None)
    lost = error.connection_invalidated or (isinstance(error, OperationalError) and state is None)
    return "the database cannot be reached" if lost or (state or "").startswith(_POSTGRESQL) else None
