"""Jobs know their place, their stages and how their workers died; uploads, jobs and runs know who asked for them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NEW = {
    "datasets": [sa.Column("job_id", sa.Integer())],
    "uploads": [sa.Column("author", sa.Text())],
    "runs": [sa.Column("author", sa.Text())],
    "jobs": [
        sa.Column("author", sa.Text()),
        sa.Column("place", sa.Float()),
        sa.Column("stages", sa.JSON(none_as_null=True)),
        sa.Column("death", sa.JSON(none_as_null=True)),
    ],
}


def upgrade() -> None:
    for table, columns in NEW.items():
        for column in columns:
            op.add_column(table, column)


def downgrade() -> None:
    for table, columns in NEW.items():
        for column in columns:
            op.drop_column(table, column.name)
