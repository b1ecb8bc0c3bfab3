"""The tests of database, services and jobs over a real PostgreSQL, where ``LACUNA_TEST_POSTGRESQL`` names a server.

The variable holds a URL of a database that may create others, as ``.ci/postgresql`` makes one. Every test gets its own,
copied from one that was migrated once.
"""

import os
import uuid
from functools import cache
from pathlib import Path

from sqlalchemy import MetaData, create_engine, insert, make_url, select, text

from db.models import metadata
from db.session import open_database

SERVER = os.environ.get("LACUNA_TEST_POSTGRESQL", "")
ROOMS = ("db", "services", "jobs")


def asked_for(path: Path) -> bool:
    """Whether the test in this file is to use PostgreSQL."""
    return bool(SERVER) and path.relative_to(Path(__file__).parent).parts[0] in ROOMS


def _command(statement: str) -> None:
    engine = create_engine(SERVER, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text(statement))
    engine.dispose()


def _named(name: str) -> str:
    return make_url(SERVER).set(database=name).render_as_string(hide_password=False)


@cache
def _template() -> str:
    name = f"template_{uuid.uuid4().hex[:12]}"
    _command(f"CREATE DATABASE {name}")
    open_database(_named(name)).close()
    return name


def fresh() -> str:
    """The URL of a new, migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _command(f"CREATE DATABASE {name} TEMPLATE {_template()}")
    return _named(name)


def drop(url: str) -> None:
    """Removes the database and whatever is still connected to it."""
    _command(f"DROP DATABASE IF EXISTS {make_url(url).database} WITH (FORCE)")


def copy(file: Path, url: str) -> None:
    """All rows of a SQLite database into the one at ``url``, verdict tables included."""
    source, target = create_engine(f"sqlite:///{file}"), create_engine(url)
    found = MetaData()
    found.reflect(source)
    verdicts = [t for name, t in found.tables.items() if name.startswith("verdicts_")]
    with source.connect() as reading, target.begin() as writing:
        for table in verdicts:
            table.create(writing)
        for table in [*metadata.sorted_tables, *verdicts]:
            rows = [dict(row) for row in reading.execute(select(table)).mappings()]
            if rows:
                writing.execute(insert(table), rows)
            if table.name in metadata.tables and table.c.get("id") is not None and table.c.id.type.python_type is int:
                sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                writing.execute(
                    text(f"SELECT setval({sequence}, (SELECT coalesce(max(id), 0) + 1 FROM {table.name}), false)")
                )
    source.dispose()
    target.dispose()
