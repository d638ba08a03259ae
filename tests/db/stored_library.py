"""A library of a released schema as SQL text: its rows, and its schema as the migrations of that version made it.

`python -m tests.db.stored_library > tests/db/schemas/NNNN.sql`: for each revision in the commit that adds it, again
until it is released, and never after, because the text then stands for the libraries users have.
"""

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Connection, insert, update

from db import batches, editing, extraction, queue, quick, reservations, runs, store
from db.batches import Batch
from db.editing import PriorityRange
from db.engine import writing
from db.migrate import open_library
from db.models import AUDIT, DEEP, QUICK, Analysis, Checkpoint, Run, RunState, Task, TaskKind
from db.reservations import Describing
from db.runs import ProcessIdentity
from tests.db.library import LATER, NOW, add, claim, claim_frame, describe, extract, fail, new_call, new_video

OBJECTS = """
    SELECT name, type, sql FROM sqlite_master
    WHERE sql IS NOT NULL AND name NOT GLOB 'search_index_*' AND name NOT GLOB 'sqlite_*'
    ORDER BY type = 'trigger', type = 'index', rowid
"""
CLAUDE = {"describer": "claude", "model": "claude-haiku-5-5", "host": "https://api.anthropic.com"}
WARNINGS = [{"problem": "repeats", "detail": "la la la"}]


def fill(connection: Connection) -> None:
    """Put rows into every table: tasks in every state, a finished and a live run, and the costs of a removed video."""
    ended, _ = _begin_run(connection, 10)
    frames = extract(connection, add(connection), 7, passes=(QUICK, DEEP))
    cake = [new_call(is_kept=False, raw_reply="?"), new_call(warnings=WARNINGS, latency_seconds=3.5)]
    describe(connection, frames[0], "Grandma cuts the cake", tags=["cake", "grandma"], calls=cake)
    describe(connection, frames[1], "Anna laughs", tags=["joy"], search_text="a woman laughs", calls=[new_call()])
    editing.edit_frame(connection, frames[1], description="Erna laughs", tags=["erna"], now=LATER)
    fail(connection, frames[2], "the model's reply was empty")
    editing.edit_frame(connection, frames[3], description="the first dance", tags=["dance"], now=NOW)
    editing.approve_frame(connection, frames[0], is_approved=True, now=LATER)
    lanterns = quick.NewQuickDescription(
        "A couple turns under lanterns",
        ("lanterns",),
        "first dance",
        8.0,
        "A couple turns",
        ("lanterns", "first dance"),
    )
    paid = new_call(**CLAUDE, cost_usd=0.002, prompt_tokens=1300, output_tokens=150)
    quick.set_key_frames(connection, 1, [frames[2], *frames[4:6]])
    quick.save_quick_description(connection, frames[4], lanterns, [paid], now=NOW)
    child = "A child flies a kite"
    kite = quick.NewQuickDescription(child, ("kite",), "other", 4.0, child, ("kite",))
    quick.save_quick_description(connection, frames[2], kite, [paid], now=NOW)  # never described by the deep pass
    describe(connection, frames[4], "Two people on a lawn", tags=["lawn"], calls=[new_call()])
    store.record_calls(connection, frames[0], [new_call(is_kept=False)], pass_=AUDIT, now=LATER)
    connection.execute(update(Analysis).where(Analysis.frame_id == frames[1]).values(run_id=ended))
    runs.end(connection, ended, RunState.CRASHED, counts={"calls": 4}, now=NOW, error="ended by SIGKILL")

    removed = add(connection, "removed")
    quick.save_quick_description(connection, extract(connection, removed, 1)[0], lanterns, [paid], now=NOW)
    store.remove_video(connection, removed)

    live, _ = _begin_run(connection, 20)
    runs.set_state(connection, live, RunState.RUNNING, activity={"hosts": []})
    runs.record_progress(connection, live, now=LATER)
    runs.request(connection, live, runs.PAUSE)
    claim(connection, run_id=live)
    queue.release(connection, claim_frame(connection, frames[6]), reason="the drive is unplugged", not_before=LATER)

    skimmed = store.add_video(
        connection, new_video("birthday", duration=None), sampling="every=1s", context="Ben is 3", now=NOW, skim_count=6
    )[0]
    [skim] = claim(connection, kind=TaskKind.SKIM, pass_="")
    extraction.finish_skim(connection, skim, places=6)
    interrupted = {"video_id": skimmed, "wanted": [0.5, 2.0], "index": 40, "state": b"\x00state"}
    connection.execute(insert(Checkpoint), [interrupted])
    epochs = [extraction.NewEpoch(0, 0.0, 1.4, is_steady=True), extraction.NewEpoch(5, 0.2, 1.4, is_steady=False)]
    extraction.save_epochs(connection, 1, epochs)
    connection.execute(update(Run).where(Run.id == live).values(machine_id="6f1d"))
    editing.prioritize(connection, skimmed, PriorityRange(start=2.0), priority=1000)
    broken = add(connection, "broken", warnings=["log footage"])
    [task] = claim(connection, kind=TaskKind.EXTRACT, pass_="", video_ids=[broken])
    extraction.fail_extraction(connection, task, error="no video stream")
    _send_batch(connection)
    orphan = {"kind": TaskKind.DESCRIBE, "pass": DEEP, "video_id": skimmed, "crashes": 2, "attempts": 1}
    connection.execute(insert(Task), [orphan])


def _send_batch(connection: Connection) -> None:
    sender = {"hostname": "here", "pid": 20, "created_at": 1.5}
    parts = {"part-1": {"F6": 1300}}
    batch = Batch("claude-haiku-5-5", "q1", "", "English", 0.002, NOW.isoformat(), sender, parts)
    task_id = batches.begin(connection, 1, batch, not_before=LATER)
    batches.record_sent(connection, task_id, "batch_1")
    paid_for = Describing("claude", batch.model, batch.prompt_version)
    process = ProcessIdentity(**sender)
    reservations.reserve(connection, "part-1", {"F6": 0.006}, paid_for, sender=process, now=NOW, task_id=task_id)
    reservations.set_batch_id(connection, ["part-1"], "batch_1")


def _begin_run(connection: Connection, pid: int) -> tuple[int, list[int]]:
    process, supervisor = ProcessIdentity("here", pid, 1.5), ProcessIdentity("here", pid - 1, 1.0)
    return runs.begin(
        connection,
        process,
        supervisor=supervisor,
        log_path="worker.log",
        options={"model": "llava:13b"},
        is_alive=lambda _: False,
        now=NOW - timedelta(minutes=1),
    )


def statements(file: Path) -> Iterator[str]:
    """The SQL that recreates the library: tables, rows, then indexes and triggers, which must not fire for the rows."""
    with closing(sqlite3.connect(file)) as connection:
        objects = connection.execute(OBJECTS).fetchall()
        tables = [(name, sql) for name, kind, sql in objects if kind == "table"]
        for _, sql in tables:
            yield sql
        for table in [name for name, sql in tables if not sql.startswith("CREATE VIRTUAL")]:
            columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
            values = ", ".join(f'quote("{column}")' for column in columns)
            for row in connection.execute(f'SELECT {values} FROM "{table}" ORDER BY rowid'):  # noqa: S608 our own names
                yield f'INSERT INTO "{table}" VALUES ({", ".join(row)})'  # noqa: S608 quoted by SQLite
        yield "INSERT INTO search_index(search_index) VALUES ('rebuild')"
        for _, kind, sql in objects:
            if kind != "table":
                yield sql


def load(script: Path, file: Path) -> Path:
    """Recreate a stored library in `file`."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script.read_text(encoding="utf-8"))
    return file


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "library.db"
        engine = open_library(f"sqlite:///{file}")
        with writing(engine) as connection:
            fill(connection)
        engine.dispose()
        sys.stdout.writelines(f"{statement};\n" for statement in statements(file))


if __name__ == "__main__":
    main()
