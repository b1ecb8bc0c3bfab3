"""Alembic's entry: migrates the connection that ``db.session`` hands over, inside its transaction."""

from alembic import context

from db.models import metadata

# SQLite alters a table by copying it, hence batch mode.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
