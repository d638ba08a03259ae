"""The database: tables, migrations, the task queue, writes, reads and search. Depends on SQLAlchemy and Alembic only."""
