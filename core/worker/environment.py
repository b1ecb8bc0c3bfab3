"""What is no fault of a job: a full disk, a locked or lost database, a lost network share."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError

_FILES = {
    errno.ENOSPC: "the disk is full",
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
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the database file cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_READONLY: "the database file is read-only",
    sqlite3.SQLITE_NOMEM: "memory is short",
}
# Classes of SQLSTATE (PostgreSQL manual, appendix A): connection, resources, operator, lock not available, retry.
_POSTGRESQL = ("08", "53", "57", "55P03", "40")


def hindrance(error: BaseException) -> str | None:
    """Why the machine, not the job, is at fault, in words that follow "waiting:"; None where it is not."""
    if isinstance(error, DBAPIError):
        return _database(error)
    return _FILES.get(error.errno or 0) if isinstance(error, OSError) else None


def _database(error: DBAPIError) -> str | None:
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code of an extended one.
        return _SQLITE.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
    state = getattr(error.orig, "sqlstate", None)
    lost = error.connection_invalidated or (isinstance(error, OperationalError) and state is None)
    return "the database cannot be reached" if lost or (state or "").startswith(_POSTGRESQL) else None
