"""Rows to begin a test with, made the way the worker makes them."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from db import extraction, queue, store
from db.models import DEEP, Frame, Run, Task, TaskKind, Video
from db.store import NewAnalysis, NewFrame, NewVideo

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(seconds=queue.LEASE_SECONDS + 1)  # every lease of NOW has run out


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
    """The kept frame `number`: each stands for three source frames."""
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
    """A new video, as `everyframe add` leaves it."""
    return store.add_video(connection, new_video(name, **changes), sampling=sampling, context="", now=NOW)[0]


def add_run(connection: Connection, pid: int = 1) -> int:
    values = {"hostname": "here", "pid": pid, "process_created_at": 0.0, "started_at": NOW, "heartbeat_at": NOW}
    return connection.execute(insert(Run).values(**values, options={}, counts={}).returning(Run.id)).scalar_one()


def add_tasks(connection: Connection, video_id: int, count: int, *, pass_: str = DEEP, **values: Any) -> list[int]:
    """Describe tasks without frames: to the queue a task is a task."""
    row = {"kind": TaskKind.DESCRIBE, "pass": pass_, "video_id": video_id, **values}
    before = connection.scalar(select(Task.id).order_by(Task.id.desc()).limit(1)) or 0
    connection.execute(insert(Task), [row] * count)
    return list(connection.scalars(select(Task.id).where(Task.id > before).order_by(Task.id)))


def claim(connection: Connection, limit: int = 1, *, now: datetime = NOW, **options: Any) -> list[queue.ClaimedTask]:
    """Claim deep describe tasks, unless `options` say otherwise."""
    values: dict[str, Any] = {"kind": TaskKind.DESCRIBE, "pass_": DEEP, "run_id": None, "host": "here"}
    return queue.claim(connection, limit=limit, now=now, **values | options)


def extract_job(connection: Connection, video_id: int) -> queue.ClaimedTask:
    [job] = claim(connection, kind=TaskKind.EXTRACT, pass_="", video_ids=[video_id])
    return job


def extract(
    connection: Connection, video_id: int, count: int = 3, *, passes: Collection[str] = (DEEP,), failures: int = 0
) -> list[int]:
    """Decode a video to its end into `count` kept frames; their ids."""
    job = extract_job(connection, video_id)
    extraction.begin_extraction(connection, video_id)
    store.save_frames(connection, job, [new_frame(number) for number in range(count)], passes=passes, now=NOW)
    extraction.finish_extraction(connection, job, decoded=count * 3, failures=failures)
    return frame_ids(connection, video_id)


def frame_ids(connection: Connection, video_id: int) -> list[int]:
    return list(connection.scalars(select(Frame.id).where(Frame.video_id == video_id).order_by(Frame.timestamp)))


def job_of(connection: Connection, frame_id: int, pass_: str = DEEP) -> queue.ClaimedTask:
    """The claimed describe task of one frame; the others are as before."""
    jobs = {job.frame_id: job for job in claim(connection, 1000, pass_=pass_)}
    for job in jobs.values():
        if job.frame_id != frame_id:
            queue.release(connection, job)
    return jobs[frame_id]


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
    """Describe one frame, as the worker saves it."""
    store.save_description(
        connection,
        job_of(connection, frame_id, pass_),
        text=text,
        tags=tags,
        search_text=text if search_text is None else search_text,
        search_tags=tags,
        analyses=calls,
        now=NOW,
        run_id=None,
    )


def fail(connection: Connection, frame_id: int, error: str = "the model's reply was empty", times: int = 3) -> None:
    """Let describing one frame fail."""
    for _ in range(times):
        job = job_of(connection, frame_id)
        store.save_failure(connection, job, error=error, not_before=None, analyses=[], now=NOW, run_id=None)


def status_of(connection: Connection, video_id: int) -> str:
    return connection.execute(select(Video.enrichment_status).where(Video.id == video_id)).scalar_one()
