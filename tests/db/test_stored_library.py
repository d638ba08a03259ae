"""A stored library of every released schema is upgraded by the product: rows, counts, costs, search and schema.

Each is upgraded to this version's schema, and to one with another migration, because the newest stored library already
has this version's. A new migration needs a file `schemas/<revision>.sql`, made by `stored_library`, and no change here,
unless it renames or rewrites what older libraries contain.
"""

import ast
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select

from db import batches, checks, costs, counts, gallery, migrate, queries, queue, store
from db.counts import VideoCounts
from db.engine import make_engine, reading, writing
from db.gallery import FrameFilter
from db.migrate import check, check_integrity, open_library
from db.models import DEEP, QUICK, Task, Video
from db.reservations import Reservation
from db.runs import ProcessIdentity
from db.search import search
from tests.db.conftest import RECREATE
from tests.db.library import LATER, add, claim, extract, refusal
from tests.db.stored_library import load

SCRIPTS = sorted((Path(__file__).parent / "schemas").glob("*.sql"))
MIGRATIONS = Path(migrate.__file__).parent / "migrations"
OURS = {"db", "enrich", "pages", "app", "tests", "bench"}


@pytest.fixture(params=SCRIPTS, ids=lambda script: script.stem)
def script(request: pytest.FixtureRequest) -> Path:
    """A stored library as SQL."""
    path: Path = request.param
    return path


@pytest.fixture
def stored(script: Path, tmp_path: Path) -> Path:
    """A stored library, not upgraded."""
    return load(script, tmp_path / "library.db")


@pytest.fixture(params=[None, RECREATE], ids=["this version", "next version"])
def file(request: pytest.FixtureRequest, stored: Path, newer: Callable[[str], None]) -> Path:
    """A stored library, not upgraded, of this version and of one whose migration recreates a table."""
    if request.param is not None:
        newer(request.param)
    return stored


@pytest.fixture
def upgraded(file: Path) -> Iterator[Engine]:
    """A stored library after opening it."""
    engine = open_library(f"sqlite:///{file}")
    check(engine)
    yield engine
    engine.dispose()


def schema(file: Path) -> dict[str, str]:
    with closing(sqlite3.connect(file)) as connection:
        return dict(connection.execute("SELECT type || ' ' || name, sql FROM sqlite_master"))


def rows(file: Path) -> dict[str, list[dict[str, Any]]]:
    """By table, its rows by column."""
    names = [name.removeprefix("table ") for name in schema(file) if name.startswith("table ")]
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        return {
            name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')]  # noqa: S608 our own names
            for name in names
            if not name.startswith(("search_index", "sqlite_", migrate.VERSION_TABLE))
        }


def test_every_table_of_a_stored_library_has_rows(stored):
    assert [name for name, found in rows(stored).items() if not found] == []


def test_upgrade_keeps_every_row(file):
    before = rows(file)

    engine = open_library(f"sqlite:///{file}")
    check(engine)
    engine.dispose()

    after = rows(file)
    for name, old in before.items():
        columns = old[0].keys() & after[name][0].keys()
        assert [{column: row[column] for column in columns} for row in after[name]] == [
            {column: row[column] for column in columns} for row in old
        ], name


def test_upgraded_schema_equals_that_of_a_new_library(file, upgraded, tmp_path):
    check_integrity(upgraded)
    new = tmp_path / "new.db"
    open_library(f"sqlite:///{new}").dispose()

    assert schema(file) == schema(new)


def test_upgrade_keeps_every_trigger(file, stored):
    def triggers():
        return {name: sql for name, sql in schema(stored).items() if name.startswith("trigger ")}

    before = triggers()
    open_library(f"sqlite:///{file}").dispose()

    assert before.keys() == triggers().keys()


def test_upgraded_library_has_its_videos_frames_and_tasks(upgraded):
    with reading(upgraded) as connection:
        videos = queries.videos(connection)
        assert [(row.title, row.extraction_status, row.enrichment_status, row.failed) for row in videos] == [
            ("wedding", "extracted", "enriching", 1),
            ("birthday", "skimmed", "pending", 0),
            ("broken", "failed", "failed", 0),
        ]
        assert [(card.text, card.source) for card in gallery.cards(connection, 1)] == [
            ("Grandma cuts the cake", "deep"),
            ("Erna laughs", "person"),
            ("A child flies a kite", "quick"),
            ("the first dance", "person"),
            ("Two people on a lawn", "deep"),
            (None, None),
            (None, None),
        ]
        assert gallery.count(connection, 1, show=FrameFilter.WARNINGS) == 1
        assert queries.progress(connection, DEEP, [1]) == queries.Progress(todo=2, doing=1, done=3, failed=1)
        leases = connection.scalars(select(Task.lease_until).where(Task.lease_until.is_not(None))).all()
        assert [lease.tzinfo is not None for lease in leases] == [True]


def test_upgraded_counts_match_the_rows(upgraded):
    with reading(upgraded) as connection:
        for video_id in connection.scalars(select(Video.id)):
            assert counts.stored_counts(connection, video_id) == counts.actual_counts(connection, video_id)
        assert counts.stored_counts(connection, 1) == VideoCounts(kept=7, described=3, covered=9, planned=7, done=3)


def test_upgraded_costs_match_the_calls(upgraded):
    with reading(upgraded) as connection:
        found = {(row.pass_, row.model): row for row in costs.model_costs(connection)}

    quick, deep = found[QUICK, "claude-haiku-5-5"], found[DEEP, "llava:13b"]
    assert (quick.calls, quick.usd, quick.removed_usd) == (3, pytest.approx(0.006), pytest.approx(0.002))
    assert (deep.calls, deep.kept, deep.prompt_tokens) == (4, 3, 2400)


def test_upgraded_search_finds_every_source_and_stays_consistent(upgraded):
    with reading(upgraded) as connection:
        sources = {"laughs": "person", "cake": "deep", "lanterns": "deep", "kite": "quick"}
        for words, source in sources.items():
            assert [hit.source for hit in search(connection, words).hits] == [source]
        assert search(connection, "Anna").hits == []
    with writing(upgraded) as connection:
        assert checks.is_search_index_consistent(connection)
        assert checks.dangling_rows(connection) == []


def test_work_continues_in_an_upgraded_library(upgraded):
    with writing(upgraded) as connection:
        assert queue.sweep(connection, now=LATER) == 1
        description = store.NewDescription("a balloon", [], "a balloon", [])
        for task in claim(connection, 9, video_ids=[1], now=LATER):
            store.save_description(connection, task, description, analyses=[], now=LATER, run_id=None)

        assert [hit.frame_id for hit in search(connection, "balloon").hits] == [6, 7]
        assert counts.stored_counts(connection, 1) == counts.actual_counts(connection, 1)
        store.remove_video(connection, 1)
        assert search(connection, "balloon").hits == []
        added = add(connection, "christening")
        extract(connection, added, 2)
        assert counts.stored_counts(connection, added) == VideoCounts(kept=2, described=0, covered=0, planned=2, done=0)
        assert checks.is_search_index_consistent(connection)


# released migrations


def test_released_migration_makes_its_stored_schema(script, stored, tmp_path):
    made = tmp_path / "made.db"
    engine = make_engine(f"sqlite:///{made}")
    config = migrate._config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, script.stem)
    engine.dispose()

    assert schema(made) == schema(stored), "never change a released migration: write a new one"


def test_every_revision_has_a_stored_library():
    revisions = {found.revision for found in ScriptDirectory.from_config(migrate._config()).walk_revisions()}

    assert {script.stem for script in SCRIPTS} == revisions


@pytest.mark.parametrize("path", sorted(MIGRATIONS.rglob("*.py")), ids=lambda path: path.name)
def test_migrations_import_no_code_of_this_project(path):
    """A migration makes the same schema whatever the code of a later version says."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "no relative imports"
            imported.add(node.module or "")

    assert {name.partition(".")[0] for name in imported} & OURS == set()


def test_stored_library_without_a_table_or_column_is_refused_unchanged(stored: Path, tmp_path: Path) -> None:
    """Also without a table that a migration changes."""
    lost = {f"DROP TABLE {name}": name for name in rows(stored)}
    lost["ALTER TABLE frames DROP COLUMN motion"] = "frames.motion"
    for number, (statement, name) in enumerate(lost.items()):
        file = Path(shutil.copy(stored, tmp_path / f"{number}.db"))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # as EveryFrame would set it
            connection.execute(statement)
        before = file.read_bytes()
        assert f" lacks {name}, which its schema should have: restore a backup" in refusal(file)
        assert file.read_bytes() == before
        assert list(tmp_path.glob(f"{file.name}.before-*")) == [], "what is refused is not copied"


def test_batch_under_way_has_its_money_reserved(upgraded: Engine) -> None:
    with reading(upgraded) as connection:
        [row] = connection.execute(select(Reservation.__table__)).all()
        [batch] = batches.open_batches(connection)
    assert (row.frame_id, row.request, row.task_id, row.batch_id) == (6, "part-1", batch.task_id, "batch_1")
    assert row.usd >= batch.batch.usd * 400 / 150 * 0.99  # the most that such a batch may cost
    assert ProcessIdentity.parse(row.sender) == batch.batch.sent_by
