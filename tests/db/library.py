"""Rows for tests, created through the same functions the worker uses; and libraries in files."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, Row, func, insert, select

from db import extraction, queue, store
from db.errors import StorageError
from db.migrate import open_library
from db.models import DEEP, Base, Frame, Run, Task, TaskKind, Video
from db.store import NewAnalysis, NewDescription, NewFrame, NewVideo

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=queue.LEASE_SECONDS + 1)  # leases claimed at NOW have expired


def new_video(name: str = "wedding", **changes: Any) -> NewVideo:
    values: dict[str, Any] = {
        "path": f"/films/{name}.mp4",
        "fingerprint": f"print of {name}",
        "title": name,
        "duration": 10.0,
        "fps": 30.0,
        "width": 1920,
        "height": 1080,
        "codec": "h264",
        "rotation": 0,
        "recorded_at": NOW,
        "start_timecode": None,
        "camera": None,
        "frame_count": 300,
    }
    return NewVideo(**values | changes)


def new_frame(number: int, **changes: Any) -> NewFrame:
    """Kept frame `number`; each stands for three source frames."""
    values: dict[str, Any] = {
        "index": number * 3,
        "timestamp": number / 10,
        "stands_for": 3,
        "scene": 0,
        "image_path": f"{number}.jpg",
        "dhash": f"{number:016x}",
        "sharpness": 10.0,
        "brightness": 100.0,
        "motion": 1.0,
    }
    return NewFrame(**values | changes)


def new_call(**changes: Any) -> NewAnalysis:
    values: dict[str, Any] = {
        "describer": "ollama",
        "model": "llava:13b",
        "model_digest": "abc",
        "host": "http://localhost:11434",
        "prompt_version": "1",
        "latency_seconds": 2.0,
        "load_seconds": 0.0,
        "prompt_tokens": 600,
        "output_tokens": 80,
        "cost_usd": 0.0,
        "raw_reply": "{}",
        "warnings": [],
        "is_kept": True,
    }
    return NewAnalysis(**values | changes)


def add(connection: Connection, name: str = "wedding", *, sampling: str = "distinct", **changes: Any) -> int:
    """Add a video as `everyframe add` does."""
    return store.add_video(connection, new_video(name, **changes), sampling=sampling, context="", now=NOW)[0]


def add_run(connection: Connection, pid: int = 1) -> int:
    values = {"hostname": "here", "pid": pid, "process_created_at": 0.0, "started_at": NOW, "heartbeat_at": NOW}
    return connection.execute(insert(Run).values(**values, options={}, counts={}).returning(Run.id)).scalar_one()


def add_tasks(connection: Connection, video_id: int, count: int, *, pass_: str = DEEP, **values: Any) -> list[int]:
    """Add describe tasks without frames, which the queue does not need."""
    row = {"kind": TaskKind.DESCRIBE, "pass": pass_, "video_id": video_id, **values}
    before = connection.scalar(select(Task.id).order_by(Task.id.desc()).limit(1)) or 0
    connection.execute(insert(Task), [row] * count)
    return list(connection.scalars(select(Task.id).where(Task.id > before).order_by(Task.id)))


def claim(
    connection: Connection,
    limit: int = 1,
    *,
    kind: TaskKind = TaskKind.DESCRIBE,
    pass_: str = DEEP,
    now: datetime = NOW,
    run_id: int | None = None,
    host: str = "here",
    **options: Any,
) -> list[queue.ClaimedTask]:
    """Claim tasks, by default describe tasks of the deep pass. `options` are those of `TaskFilter`."""
    wanted = queue.TaskFilter(kind, pass_, **options)
    return queue.claim(connection, wanted, run_id=run_id, host=host, limit=limit, now=now)


def claim_extraction(connection: Connection, video_id: int) -> queue.ClaimedTask:
    [task] = claim(connection, kind=TaskKind.EXTRACT, pass_="", video_ids=[video_id])
    return task


def extract(
    connection: Connection, video_id: int, count: int = 3, *, passes: Collection[str] = (DEEP,), failures: int = 0
) -> list[int]:
    """Extract a video into `count` kept frames; returns their ids."""
    task = claim_extraction(connection, video_id)
    extraction.begin_extraction(connection, video_id)
    store.save_frames(connection, task, [new_frame(number) for number in range(count)], passes=passes, now=NOW)
    extraction.finish_extraction(connection, task, decoded=count * 3, failures=failures)
    return frame_ids(connection, video_id)


def frame_ids(connection: Connection, video_id: int) -> list[int]:
    return list(connection.scalars(select(Frame.id).where(Frame.video_id == video_id).order_by(Frame.timestamp)))


def claim_frame(connection: Connection, frame_id: int, pass_: str = DEEP) -> queue.ClaimedTask:
    """Claim the describe task of one frame and no other."""
    tasks = {task.frame_id: task for task in claim(connection, 1000, pass_=pass_)}
    for task in tasks.values():
        if task.frame_id != frame_id:
            queue.release(connection, task)
    return tasks[frame_id]


def describe(
    connection: Connection,
    frame_id: int,
    text: str = "a dog runs",
    *,
    tags: Sequence[str] = (),
    pass_: str = DEEP,
    search_text: str | None = None,
    calls: Sequence[NewAnalysis] = (),
) -> None:
    """Describe one frame as the worker does."""
    store.save_description(
        connection,
        claim_frame(connection, frame_id, pass_),
        NewDescription(text, tags, text if search_text is None else search_text, tags),
        analyses=calls,
        now=NOW,
        run_id=None,
    )


def fail(connection: Connection, frame_id: int, error: str = "the model's reply was empty", times: int = 3) -> None:
    """Fail the description of one frame."""
    for _ in range(times):
        task = claim_frame(connection, frame_id)
        store.save_failure(connection, task, error=error, not_before=None, analyses=[], now=NOW, run_id=None)


def status_of(connection: Connection, video_id: int) -> str:
    return connection.execute(select(Video.enrichment_status).where(Video.id == video_id)).scalar_one()


def count(connection: Connection, table: type[Base]) -> int:
    """The number of rows of a table."""
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def row_of(connection: Connection, table: type[Base], row_id: int) -> Row[Any]:
    """A row of a table, with all columns."""
    columns = table.__table__.c
    return connection.execute(select(columns).where(columns.id == row_id)).one()


@contextmanager
def disposing(engine: Engine) -> Iterator[Engine]:
    """An engine that is disposed at the end, so that no file stays open."""
    try:
        yield engine
    finally:
        engine.dispose()


def url(file: Path) -> str:
    return f"sqlite:///{file}"


def opened(file: Path) -> AbstractContextManager[Engine]:
    """The library in `file`, open for the duration of the block."""
    return disposing(open_library(url(file)))


def refusal(file: Path) -> str:
    """The error message for a file that cannot be opened."""
    with pytest.raises(StorageError) as caught:
        open_library(url(file))
    return str(caught.value)


def contents(file: Path) -> dict[str, str]:
    """Every object and row of a database, by name."""
    with closing(sqlite3.connect(file)) as connection:
        objects = dict(connection.execute("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master"))
        for name in [name for name in objects if name.startswith("table ")]:
            rows = connection.execute(f"SELECT * FROM {name.removeprefix('table ')}").fetchall()  # noqa: S608 our own
            objects[name] += repr(rows)
    return objects
