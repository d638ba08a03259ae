"""The database: queue, migrations, writes, reads and search, on real SQLite files."""
