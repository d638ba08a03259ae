"""What workers write, but for the queue. Every function takes part in its caller's transaction; `now` is an argument.

What a person wrote (`edited_…`) is never overwritten here by what a model said.

Tasks that may have crashed the worker: counted, tried alone, set aside.

Only crashes that a supervisor saw count, not kills and power cuts found at the next start. From one crash all that was
in hand looks alike; what was in hand at two is tried alone, so that the third crash has one culprit. Every function
takes part in its caller's transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import Connection, delete, exists, func, insert, select, true, update

from db import queue, search
from db.models import (
    DEEP,
    Analysis,
    EnrichmentStatus,
    ExtractionStatus,
    Frame,
    Task,
    TaskKind,
    TaskStatus,
    Video,
)
from db.search import WRITTEN_DEEP, WRITTEN_QUICK

CRASH_LIMIT = 3
SUSPECT_CRASHES = CRASH_LIMIT - 1  # in hand at so many crashes, a task is tried alone
CRASH_LIMIT_REACHED = f"the worker crashed {CRASH_LIMIT} times while it was in hand"


@dataclass(frozen=True, slots=True)
class NewVideo:
    """What probing found out about a file; units as in `db.models.Video`."""

    path: str
    fingerprint: str
    title: str
    duration: float | None
    fps: float | None
    width: int
    height: int
    codec: str
    rotation: int
    recorded_at: datetime | None
    start_timecode: str | None
    camera: str | None
    frame_count: int | None
    recording: str | None = None
    chapter: int | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A kept frame whose JPEG lies on disk; units as in `db.models.Frame`. None: decoding has not reached it."""

    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    image_path: str
    dhash: str
    sharpness: float
    brightness: float
    motion: float | None
    priority: int = 0  # of its description

    def columns(self) -> dict[str, Any]:
        """What the row has of it."""
        return {name: value for name, value in asdict(self).items() if name != "priority"}


@dataclass(frozen=True, slots=True)
class NewAnalysis:
    """One model call; units as in `db.models.Analysis`."""

    describer: str
    model: str
    model_digest: str
    host: str
    prompt_version: str
    latency_seconds: float
    load_seconds: float
    prompt_tokens: int | None
    output_tokens: int | None
    cost_usd: float
    raw_reply: str
    warnings: list[dict[str, str]]
    is_kept: bool


class AddResult(StrEnum):
    """What adding a file came to."""

    ADDED = "added"
    KNOWN = "known"
    MOVED = "moved"  # the same video, now under another path


def add_video(
    connection: Connection, video: NewVideo, *, sampling: str, context: str, now: datetime, skim_count: int = 0
) -> tuple[int, AddResult]:
    """Add a video and its first tasks, or find it again by its fingerprint; its id and which of these it was.

    `skim_count`: how many pictures to skim it for before it is extracted.
    """
    known = connection.execute(select(Video.id, Video.path).where(Video.fingerprint == video.fingerprint)).one_or_none()
    if known is None:
        values = {**asdict(video), "sampling": sampling, "context": context, "added_at": now}
        video_id = connection.execute(insert(Video).values(**values).returning(Video.id)).scalar_one()
        connection.execute(insert(Task).values(kind=TaskKind.EXTRACT, video_id=video_id))
        if skim_count:
            connection.execute(
                insert(Task).values(kind=TaskKind.SKIM, video_id=video_id, payload={"pictures": skim_count, "taken": 0})
            )
        return video_id, AddResult.ADDED
    changes: dict[str, Any] = {}
    if known.path != video.path:
        changes = {"path": video.path, "recording": video.recording, "chapter": video.chapter}
    if context:
        changes["context"] = context
    if changes:
        connection.execute(update(Video).where(Video.id == known.id).values(**changes))
    return known.id, AddResult.MOVED if "path" in changes else AddResult.KNOWN


def remove_video(connection: Connection, video_id: int) -> None:
    """Forget a video: its frames, tasks and texts. Its calls stay counted in `analyses`, without their replies."""
    frames = select(Frame.id).where(Frame.video_id == video_id)
    connection.execute(update(Analysis).where(Analysis.frame_id.in_(frames)).values(raw_reply=None))
    connection.execute(delete(Video).where(Video.id == video_id))


def save_frames(
    connection: Connection,
    job: queue.ClaimedTask,
    frames: Sequence[NewFrame],
    *,
    passes: Collection[str],
    now: datetime,
) -> int:
    """Save kept frames with a describe task for each of `passes`; how many were new.

    A frame that is there already (the extraction was cut short before, or skimmed) keeps its row, its tasks and its
    descriptions, and gets its index and what it stands for. Raises LeaseLostError if the task is not ours.
    """
    if queue.renew(connection, [job], now=now) != 1:
        raise queue.LeaseLostError(f"{job.kind} task {job.id} is not ours any more")
    known = {
        row.timestamp: row.id
        for row in connection.execute(
            select(Frame.id, Frame.timestamp).where(
                Frame.video_id == job.video_id, Frame.timestamp.in_([frame.timestamp for frame in frames])
            )
        )
    }
    for frame in frames:
        if frame.timestamp in known and frame.index is not None:  # a look by seeking knows less than extraction does
            connection.execute(update(Frame).where(Frame.id == known[frame.timestamp]).values(**frame.columns()))
    new = [frame for frame in frames if frame.timestamp not in known]
    if new:
        connection.execute(update(Task).where(Task.id == job.id, Task.crashes > 0).values(crashes=0))  # it gets on
        rows = [{"video_id": job.video_id, "is_keyframe": False, **frame.columns()} for frame in new]
        ids = connection.scalars(insert(Frame).returning(Frame.id, sort_by_parameter_order=True), rows).all()
        tasks = [(job.video_id, frame_id, frame.priority) for frame_id, frame in zip(ids, new, strict=True)]
        _add_describe_tasks(connection, tasks, passes)
    return len(new)


def plan_pass(connection: Connection, pass_: str, *, video_ids: Collection[int] | None = None) -> int:
    """Add the describe tasks of a pass for kept frames that have none yet; how many."""
    of_another_pass = (
        select(func.max(Task.priority))
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE)
        .scalar_subquery()
    )
    missing = select(Frame.video_id, Frame.id, func.coalesce(of_another_pass, 0).label("priority")).where(
        ~exists().where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_)
    )
    if video_ids is not None:
        missing = missing.where(Frame.video_id.in_(video_ids))
    rows = [(row.video_id, row.id, row.priority) for row in connection.execute(missing.order_by(Frame.id))]
    _add_describe_tasks(connection, rows, [pass_])
    return len(rows)


def save_description(
    connection: Connection,
    job: queue.ClaimedTask,
    *,
    text: str,
    tags: Sequence[str],
    search_text: str,
    search_tags: Sequence[str],
    analyses: Sequence[NewAnalysis],
    now: datetime,
    run_id: int | None,
) -> None:
    """Save a frame's description, its calls, its place in the search, and "done", all or nothing.

    `search_text` and `search_tags` are what the search may find: without names the model cannot know. Raises
    LeaseLostError if the task is not ours; the caller's transaction must then be rolled back.
    """
    frame_id = _frame_of(job)
    queue.finish(connection, job)
    ours = update(Frame).where(Frame.id == frame_id)
    if job.pass_ == DEEP:
        values: dict[str, Any] = {"local_description": text, "local_tags": list(tags), "enriched_at": now}
    else:  # measurements: a model's quick look stays
        values = {"quick_description": text, "quick_tags": list(tags)}
        ours = ours.where(Frame.event_type.is_(None))
    is_saved = bool(connection.execute(ours.values(**values)).rowcount)
    _save_analyses(connection, job, analyses, now=now, run_id=run_id, is_kept=is_saved)
    source = WRITTEN_DEEP if job.pass_ == DEEP else WRITTEN_QUICK
    if is_saved:
        words = {"text": search_text, "tags": " ".join(search_tags)}
        search.write_model_text(connection, frame_id, source=source, **words, is_lasting=job.pass_ == DEEP)
    if job.pass_ == DEEP:
        refresh_enrichment(connection, job.video_id)


def save_failure(
    connection: Connection,
    job: queue.ClaimedTask,
    *,
    error: str,
    not_before: datetime | None,
    analyses: Sequence[NewAnalysis],
    now: datetime,
    run_id: int | None,
) -> TaskStatus:
    """Count a failed attempt at a frame, with its calls; what became of the task."""
    status = queue.fail(connection, job, error=error, not_before=not_before)
    _save_analyses(connection, job, analyses, now=now, run_id=run_id)
    if status is TaskStatus.FAILED:
        refresh_enrichment(connection, job.video_id)
    return status


def refresh_enrichment(connection: Connection, video_id: int) -> None:
    """Bring a video's `enrichment_status` in line with its deep tasks."""
    status = enrichment_due(connection, video_id)
    if status not in (None, connection.scalar(select(Video.enrichment_status).where(Video.id == video_id))):
        connection.execute(update(Video).where(Video.id == video_id).values(enrichment_status=status))


def enrichment_due(connection: Connection, video_id: int) -> EnrichmentStatus | None:
    """The `enrichment_status` that a video's deep tasks ask for, None if there is no such video."""
    is_deep = (Task.video_id == video_id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
    open_tasks = exists().where(*is_deep, Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)))
    any_done = exists().where(*is_deep, Task.status == TaskStatus.DONE)
    states = select(Video.extraction_status, open_tasks.label("is_open"), any_done.label("is_begun"))
    row = connection.execute(states.where(Video.id == video_id)).one_or_none()
    if row is None:
        return None
    ended = row.extraction_status in (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED) and not row.is_open
    if ended and not _has_unplanned_frames(connection, video_id):
        return EnrichmentStatus.ENRICHED if row.is_begun else EnrichmentStatus.FAILED
    return EnrichmentStatus.ENRICHING if row.is_begun else EnrichmentStatus.PENDING


def retry(
    connection: Connection, *, video_id: int | None = None, reason: str | None = None, frame_id: int | None = None
) -> int:
    """Put failed tasks back and bring their videos' states in line; how many tasks."""
    failed = select(Task.video_id).where(Task.status == TaskStatus.FAILED).distinct()
    videos = list(connection.scalars(failed))
    count = queue.retry(connection, video_id=video_id, reason=reason, frame_id=frame_id)
    extracts_again = exists().where(
        Task.video_id == Video.id, Task.kind == TaskKind.EXTRACT, Task.status == TaskStatus.TODO
    )
    connection.execute(
        update(Video)
        .where(Video.id.in_(videos), Video.extraction_status == ExtractionStatus.FAILED, extracts_again)
        .values(extraction_status=ExtractionStatus.PENDING, error=None)
    )
    for video in videos:
        refresh_enrichment(connection, video)
    return count


def _has_unplanned_frames(connection: Connection, video_id: int) -> bool:
    """Whether frames have no deep task yet: their video was only extracted, or described by `baseline` alone."""
    has_task = exists().where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
    unplanned = select(Frame.id).where(Frame.video_id == video_id, ~has_task).limit(1)
    return connection.scalar(unplanned) is not None


def _add_describe_tasks(connection: Connection, rows: Sequence[tuple[int, int, int]], passes: Collection[str]) -> None:
    tasks = [
        {"kind": TaskKind.DESCRIBE, "pass": pass_, "video_id": video_id, "frame_id": frame_id, "priority": priority}
        for video_id, frame_id, priority in rows
        for pass_ in passes
    ]
    if tasks:
        connection.execute(insert(Task), tasks)


def _save_analyses(
    connection: Connection,
    job: queue.ClaimedTask,
    analyses: Sequence[NewAnalysis],
    *,
    now: datetime,
    run_id: int | None,
    is_kept: bool = True,
) -> None:
    if analyses:
        common = {"created_at": now, "run_id": run_id, "frame_id": job.frame_id, "pass": job.pass_}
        common |= {} if is_kept else {"is_kept": False}
        connection.execute(insert(Analysis), [{**asdict(call), **common} for call in analyses])


def record_calls(
    connection: Connection, frame_id: int, analyses: Sequence[NewAnalysis], *, pass_: str, now: datetime
) -> None:
    """Book calls about a frame that became no description; nothing else changes."""
    common = {"created_at": now, "frame_id": frame_id, "pass": pass_}
    connection.execute(insert(Analysis), [{**asdict(call), **common} for call in analyses])


def _frame_of(job: queue.ClaimedTask) -> int:
    if job.frame_id is None:
        raise ValueError(f"task {job.id} is not about a frame")
    return job.frame_id


def count_crash(connection: Connection, run_id: int, *, now: datetime) -> int:
    """A run has crashed: put its tasks back, and set those aside that were in hand too often. How many these are."""
    queue.sweep(connection, now=now, dead_runs=[run_id], counts_crash=True)
    guilty = connection.execute(
        select(Task.id, Task.kind, Task.video_id)
        .where(Task.status == TaskStatus.TODO, Task.crashes >= CRASH_LIMIT)
        .where(Task.kind != TaskKind.BATCH)  # what is paid for is never given up
    ).all()
    for task in guilty:
        connection.execute(
            update(Task).where(Task.id == task.id).values(status=TaskStatus.FAILED, error=CRASH_LIMIT_REACHED)
        )
        if task.kind == TaskKind.EXTRACT:
            connection.execute(
                update(Video)
                .where(Video.id == task.video_id)
                .values(extraction_status=ExtractionStatus.FAILED, error=CRASH_LIMIT_REACHED)
            )
        refresh_enrichment(connection, task.video_id)
    return len(guilty)


def suspects(
    connection: Connection, kinds: Collection[TaskKind], *, pass_: str, video_ids: Collection[int] | None = None
) -> int:
    """How many unfinished tasks of these kinds are to be tried alone."""
    statement = (
        select(func.count())
        .select_from(Task)
        .where(Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)), Task.crashes >= SUSPECT_CRASHES)
        .where(Task.kind.in_(kinds), Task.pass_.in_(("", pass_)))
        .where(Task.not_before.is_(None))
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
    )
    return cast("int", connection.scalar(statement))
