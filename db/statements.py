"""Statements that several tables need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, FromClause, Table, exists, func, insert, select


def insert_row(conn: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Inserts a row and returns its id."""
    row_id: int = conn.execute(insert(table).values(dict(values)).returning(table.c.id)).scalar_one()
    return row_id


def count_rows(conn: Connection, table: FromClause, *conditions: ColumnElement[bool]) -> int:
    """How many rows of the table meet all conditions."""
    number: int = conn.execute(select(func.count()).select_from(table).where(*conditions)).scalar_one()
    return number


def unnamed(conn: Connection, column: Column[Any], values: Iterable[str]) -> list[str]:
    """Those of the values that no row holds in the column."""
    return [v for v in values if not conn.execute(select(exists().where(column == v))).scalar_one()]
