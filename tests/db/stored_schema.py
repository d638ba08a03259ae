"""A released schema as SQL text, with a row in every table.

`python -m tests.db.stored_schema > tests/db/schema_0001.sql`: once a released revision, and never again for that one,
since the text stands for the libraries users have.
"""

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from db import editing
from db.engine import writing
from db.migrate import open_library
from tests.db.library import NOW, add, add_run, claim, describe, extract, new_call

OBJECTS = """
    SELECT name, type, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND name NOT GLOB 'search_index_*' AND name NOT GLOB 'sqlite_*'
    ORDER BY type = 'trigger', type = 'index', rowid
"""


def fill(file: Path) -> None:
    """Make a library with something in every table."""
    engine = open_library(f"sqlite:///{file}")
    with writing(engine) as connection:
        run_id = add_run(connection)
        frames = extract(connection, add(connection), 2)
        describe(connection, frames[0], "Grandma laughs", tags=["joy"], calls=[new_call()])
        editing.edit_frame(connection, frames[1], description="the cake", tags=["cake"], now=NOW)
        claim(connection, run_id=run_id)
    engine.dispose()


def statements(file: Path) -> Iterator[str]:
    """The SQL that makes the library again. The full-text index and the sums fill themselves, by triggers."""
    with closing(sqlite3.connect(file)) as connection:
        objects = connection.execute(OBJECTS).fetchall()
        for _, _, sql in objects:
            yield sql
        tables = [name for name, kind, sql in objects if kind == "table" and not sql.startswith("CREATE VIRTUAL")]
        for table in [name for name in tables if name not in ("tallies", "expenses")]:
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            values = ", ".join(f'quote("{column}")' for column in columns)
            for row in connection.execute(f'SELECT {values} FROM "{table}" ORDER BY 1'):  # noqa: S608 our own names
                yield f'INSERT INTO "{table}" VALUES ({", ".join(row)})'  # noqa: S608 quoted by SQLite


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "library.db"
        fill(file)
        sys.stdout.writelines(f"{statement};\n" for statement in statements(file))


if __name__ == "__main__":
    main()
