"""Searched texts have an index of every three letters. Databases that are not SQLite read the texts, as before."""

# ruff: noqa: S608, names in these statements are made of a table's own name and a number
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Table of texts to the table and the column of what owns them.
OWNED = {"sample_bodies": ("datasets", "dataset_id"), "run_outputs": ("runs", "run_id")}


def _indexes(conn):
    """Name of each index, the table whose texts it holds, and the condition on its rows; none but in SQLite."""
    if conn.dialect.name == "sqlite":
        for table, (owners, column) in OWNED.items():
            for (owner,) in conn.exec_driver_sql(f"SELECT id FROM {owners}").all():
                yield f"search_{table}_{owner:d}", table, f"{column} = {owner:d}"


def upgrade() -> None:
    conn = op.get_bind()
    for name, table, own in _indexes(conn):
        conn.exec_driver_sql(
            f"CREATE VIRTUAL TABLE {name} USING fts5(search, content='', tokenize='trigram case_sensitive 1')"
        )
        conn.exec_driver_sql(f"INSERT INTO {name} (rowid, search) SELECT ordinal, search FROM {table} WHERE {own}")


def downgrade() -> None:
    conn = op.get_bind()
    for name, _, _ in _indexes(conn):
        conn.exec_driver_sql(f"DROP TABLE {name}")
