"""An index of every three letters of the texts that are searched, so that a search need not read them all.

SQLite keeps one for the samples of each dataset and one for the outputs of each run; it is made and dropped with them.
The texts themselves are not kept a second time. PostgreSQL reads the texts.
"""

# ruff: noqa: S608, names in these statements are made of a table's own name and a number
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Table, delete, insert, select, text, union_all
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal

from db.models import run_outputs, sample_bodies

# The texts come folded. Shorter texts than three letters have no entry and are looked for row by row.
_MAKE = "CREATE VIRTUAL TABLE {} USING fts5(search, content='', tokenize='trigram case_sensitive 1')"
SHORTEST = 3
# Values in one IN list, far below every database's limit on bound values.
_TOGETHER = 500
_OWNERS = {sample_bodies.name: sample_bodies.c.dataset_id, run_outputs.name: run_outputs.c.run_id}


def _name(table: Table, owner: int) -> str:
    return f"search_{table.name}_{owner:d}"


def _kept_here(conn: Connection) -> bool:
    return conn.dialect.name == "sqlite"


def make(conn: Connection, table: Table, owner: int) -> None:
    """An empty index for the rows of ``table`` that belong to the dataset or run ``owner``."""
    if _kept_here(conn):
        conn.exec_driver_sql(_MAKE.format(_name(table, owner)))


def drop(conn: Connection, table: Table, owner: int) -> None:
    """Drops the index; one that is not there is no error."""
    if _kept_here(conn):
        conn.exec_driver_sql(f"DROP TABLE IF EXISTS {_name(table, owner)}")


def add(conn: Connection, table: Table, owner: int, rows: Iterable[dict[str, Any]]) -> None:
    """Stores rows of ``table``, all of ``owner``, and enters their texts."""
    rows = list(rows)
    if rows:
        conn.execute(insert(table), rows)
        _enter(conn, table, owner, [(row["ordinal"], row["search"]) for row in rows])


def enter(conn: Connection, table: Table, owner: int, ordinals: Sequence[int]) -> None:
    """Enters the texts of these rows of ``owner`` as ``table`` has them now."""
    _enter(conn, table, owner, _texts(conn, table, owner, ordinals))


def forget(conn: Connection, table: Table, owner: int, ordinals: Sequence[int]) -> None:
    """Takes out the texts of these rows of ``owner``; ``table`` must still have them as they were entered."""
    if _kept_here(conn) and (texts := _texts(conn, table, owner, ordinals)):
        name = _name(table, owner)
        conn.exec_driver_sql(f"INSERT INTO {name} ({name}, rowid, search) VALUES ('delete', ?, ?)", texts)


def _enter(conn: Connection, table: Table, owner: int, texts: list[tuple[int, str]]) -> None:
    if _kept_here(conn) and texts:
        conn.exec_driver_sql(f"INSERT INTO {_name(table, owner)} (rowid, search) VALUES (?, ?)", texts)


def _texts(conn: Connection, table: Table, owner: int, ordinals: Sequence[int]) -> list[tuple[int, str]]:
    query = select(table.c.ordinal, table.c.search).where(_OWNERS[table.name] == owner)
    texts: list[tuple[int, str]] = []
    for at in range(0, len(ordinals), _TOGETHER):
        part = query.where(table.c.ordinal.in_(ordinals[at : at + _TOGETHER]))
        texts += [(ordinal, held) for ordinal, held in conn.execute(part)]
    return texts


def fill(conn: Connection, table: Table, owner: int) -> None:
    """Enters every row of ``owner`` that ``table`` has, in place of what the index held."""
    if _kept_here(conn):
        drop(conn, table, owner)
        make(conn, table, owner)
        query = f"INSERT INTO {_name(table, owner)} (rowid, search) SELECT ordinal, search FROM {table.name}"
        conn.exec_driver_sql(f"{query} WHERE {_OWNERS[table.name].name} = ?", (owner,))


def clear(conn: Connection, table: Table, owner: int) -> None:
    """Deletes the rows of ``owner`` from ``table``, and their entries."""
    conn.execute(delete(table).where(_OWNERS[table.name] == owner))
    drop(conn, table, owner)
    make(conn, table, owner)


def holding(ordinal: ColumnElement[int], owners: Mapping[Table, int], wanted: str) -> ColumnElement[bool]:
    """True where a text of the sample holds ``wanted``, which is folded. All that hold it are found first.

    Args:
        owners: each table that is searched, and whose rows in it.
    """
    texts = [
        select(table.c.ordinal).where(_OWNERS[table.name] == owner, table.c.search.contains(wanted, autoescape=True))
        for table, owner in owners.items()
    ]
    read = ordinal.in_(union_all(*texts))
    if len(wanted) < SHORTEST:
        return read
    names = [_name(table, owner) for table, owner in owners.items()]
    phrase = '"' + wanted.replace('"', '""') + '"'
    query = text(" UNION ALL ".join(f"SELECT rowid FROM {name} WHERE {name} MATCH :wanted" for name in names))
    return _Holding(ordinal.in_(query.bindparams(wanted=phrase).columns(sample_bodies.c.ordinal)), read)


class _Holding(ColumnElement[bool]):
    """By the indexes where there are any, else by reading the texts."""

    inherit_cache = True
    type = Boolean()
    _traverse_internals = [
        ("indexed", InternalTraversal.dp_clauseelement),
        ("read", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, indexed: ColumnElement[bool], read: ColumnElement[bool]) -> None:
        self.indexed, self.read = indexed, read


@compiles(_Holding)
def _reading(element: _Holding, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.read, **more))


@compiles(_Holding, "sqlite")
def _looking_up(element: _Holding, compiler: Any, **more: Any) -> str:
    return str(compiler.process(element.indexed, **more))
