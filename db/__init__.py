"""The library: tables, queue, writes, reads, migrations. Knows SQLAlchemy and Alembic alone."""
