"""Proofs of recipes by small training runs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "proofs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text()),
        sa.Column("request", JSON, nullable=False),
        sa.Column("arms", JSON, nullable=False),
        sa.Column("result", JSON),
        sa.Column("job_id", sa.Integer()),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("finished", sa.Float()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_proofs_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_proofs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_proofs_run_id", "proofs", ["run_id"])


def downgrade() -> None:
    op.drop_table("proofs")
