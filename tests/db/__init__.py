"""The library: queue, migrations, writes, reads, search, on real SQLite files."""
