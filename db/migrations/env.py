"""Runs migrations on the connection that `db.migrate` passes in, inside its one transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
