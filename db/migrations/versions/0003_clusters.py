"""Groups of unlearned samples, and sets of rows picked by hand."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "groupings",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("embedding", sa.Text(), nullable=False),
        sa.Column("thresholds", JSON, nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("groups", JSON, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_groupings_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", name="pk_groupings"),
    )
    op.create_table(
        "grouped",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("group", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("x", sa.Float(), nullable=False),
        sa.Column("y", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_grouped_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "ordinal", name="pk_grouped"),
    )
    op.create_index("ix_grouped_run_id_group_part", "grouped", ["run_id", "group", "part"])
    op.create_table(
        "picks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("n_rows", sa.Integer(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_picks_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_picks"),
        sa.UniqueConstraint("run_id", "digest", name="uq_picks_run_id_digest"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "picked",
        sa.Column("pick_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["pick_id"], ["picks.id"], name="fk_picked_pick_id_picks", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("pick_id", "ordinal", name="pk_picked"),
    )


def downgrade() -> None:
    for table in ("picked", "picks", "grouped", "groupings"):
        op.drop_table(table)
