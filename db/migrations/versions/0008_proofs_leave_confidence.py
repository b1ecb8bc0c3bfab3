"""Proofs leave the confidence alone: verdicts that one had moved get their own confidence back."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

OWN = "confidence_before_proof"
RUNS = sa.table("runs", sa.column("id", sa.Integer()), sa.column("columns", sa.JSON(none_as_null=True)))


def upgrade() -> None:
    conn = op.get_bind()
    for run_id, columns in conn.execute(sa.select(RUNS.c.id, RUNS.c.columns)).all():
        kept = [c for c in columns or () if c["name"] != OWN]
        if len(kept) == len(columns or ()):
            continue
        table = sa.table(f"verdicts_{run_id:d}", sa.column("confidence"), sa.column(OWN))
        op.execute(sa.update(table).where(table.c[OWN].is_not(None)).values(confidence=table.c[OWN]))
        op.drop_column(table.name, OWN)
        op.execute(sa.update(RUNS).where(RUNS.c.id == run_id).values(columns=kept))


def downgrade() -> None:
    """Nothing to do: a run without the column is one without proofs."""
