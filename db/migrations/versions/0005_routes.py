"""Routes runs, their items, and trained scorers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "scorers",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("encoder", sa.Text(), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scorers"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "routes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer()),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("n_items", sa.Integer(), nullable=False),
        sa.Column("scorer_id", sa.Integer()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_routes_run_id_runs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["scorer_id"], ["scorers.id"], name="fk_routes_scorer_id_scorers", ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id", name="pk_routes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_routes_run_id", "routes", ["run_id"])
    op.create_index("ix_routes_scorer_id", "routes", ["scorer_id"])
    op.create_table(
        "route_items",
        sa.Column("route_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sid", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("question", sa.Text(), nullable=False),
        sa.Column("kept", sa.Text()),
        sa.Column("artefact", sa.Text()),
        sa.Column("slot", sa.Integer()),
        sa.ForeignKeyConstraint(["route_id"], ["routes.id"], name="fk_route_items_route_id_routes", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("route_id", "ordinal", name="pk_route_items"),
    )
    op.create_index("ix_route_items_artefact", "route_items", ["artefact"])


def downgrade() -> None:
    for table in ("route_items", "routes", "scorers"):
        op.drop_table(table)
