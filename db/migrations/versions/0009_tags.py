"""Tags that people put on samples, and files of labels that were taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tags",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_tags_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "ordinal", "tag", name="pk_tags"),
    )
    op.create_index("ix_tags_run_id_tag_ordinal", "tags", ["run_id", "tag", "ordinal"])
    op.create_table(
        "label_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("changes", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("undone", sa.Float()),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_label_files_run_id_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_label_files"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_label_files_run_id", "label_files", ["run_id"])


def downgrade() -> None:
    op.drop_table("label_files")
    op.drop_table("tags")
