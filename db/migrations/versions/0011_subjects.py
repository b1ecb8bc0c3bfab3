"""Measured rows are found again by what they rest on; what no run rests on may be kept for the next one."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "subjects",
        sa.Column("measure_id", sa.Integer(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["measure_id"], ["measures.id"], name="fk_subjects_measure_id_measures", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("measure_id", "content_hash", "subject", name="pk_subjects"),
    )
    op.create_index("ix_subjects_subject", "subjects", ["subject"])
    op.create_table(
        "kept_measures",
        sa.Column("measure_id", sa.Integer(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["measure_id"], ["measures.id"], name="fk_kept_measures_measure_id_measures", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("measure_id", name="pk_kept_measures"),
    )


def downgrade() -> None:
    op.drop_table("kept_measures")
    op.drop_table("subjects")
