"""The database: tables, migrations, the task queue, writes, reads and search. SQLAlchemy and Alembic only."""
