"""Writes of the describe path: videos, kept frames, descriptions, failures, and tasks that crash the worker.

Other writes are in the module of their feature: `extraction`, `editing`, `quick`, `batches`, `queue`, `runs`. Every
function runs in its caller's transaction; `now` is an argument. A model's text never overwrites a person's text (the
`edited_…` columns).

Crashes: a crash counts against every task the worker had claimed, but only one of them caused it. A task that was
claimed during two crashes is therefore a suspect and is claimed alone, so that a third crash identifies the cause; the
task then fails. Only crashes seen by the supervisor count, not kills or power failures found at the next start.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, delete, exists, func, insert, select, true, update

from db import queue, search
from db.models import (
    DEEP,
    EXTRACTION_ENDED,
    Analysis,
    Checkpoint,
    EnrichmentStatus,
    ExtractionStatus,
    Frame,
    Location,
    Task,
    TaskKind,
    TaskStatus,
    Video,
)
from db.search import SOURCE_DEEP, SOURCE_QUICK

CRASH_LIMIT = 3
SUSPECT_CRASHES = CRASH_LIMIT - 1  # a task claimed during this many crashes is tried alone
CRASH_LIMIT_REACHED = f"the worker crashed {CRASH_LIMIT} times while working on it"


@dataclass(frozen=True, slots=True)
class NewVideo:
    """What probing a file found; units as in `db.models.Video`."""

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
    image_folder: str = ""
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NewFrame:
    """A kept frame whose JPEG is on disk; units as in `db.models.Frame`. None: decoding has not reached it."""

    index: int | None
    timestamp: float
    stands_for: int | None
    scene: int | None
    image_path: str
    dhash: str
    sharpness: float
    brightness: float
    motion: float | None
    priority: int = 0  # of its describe tasks

    def columns(self) -> dict[str, Any]:
        """The values of its row in `frames`."""
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


@dataclass(frozen=True, slots=True)
class NewDescription:
    """A model's description of a frame. `search_…` is its searchable form, without names the model cannot know."""

    text: str
    tags: Sequence[str]
    search_text: str
    search_tags: Sequence[str]


def add_video(
    connection: Connection, video: NewVideo, *, sampling: str, context: str, now: datetime, skim_count: int = 0
) -> tuple[int, bool]:
    """Add a video with its first tasks and its first location. Returns its id, and whether it was added.

    It is not if another process has added the same file meanwhile. `skim_count`: how many frames to find by seeking
    before it is extracted; 0 for none.
    """
    known = connection.scalar(select(Video.id).where(Video.fingerprint == video.fingerprint))
    if known is not None:
        return known, False
    release_path(connection, video.path)
    values = {**asdict(video), "sampling": sampling, "context": context, "added_at": now}
    video_id = connection.execute(insert(Video).values(**values).returning(Video.id)).scalar_one()
    connection.execute(insert(Location).values(video_id=video_id, path=video.path, added_at=now))
    connection.execute(insert(Task).values(kind=TaskKind.EXTRACT, video_id=video_id))
    if skim_count:
        skim = {"pictures": skim_count, "taken": 0}
        connection.execute(insert(Task).values(kind=TaskKind.SKIM, video_id=video_id, payload=skim))
    return video_id, True


def release_path(connection: Connection, path: str) -> None:
    """Take a path from the video whose file was there. It uses its first other location from now on, if it has one."""
    connection.execute(delete(Location).where(Location.path == path))
    other = select(Location.path).where(Location.video_id == Video.id).order_by(Location.id).limit(1).scalar_subquery()
    connection.execute(update(Video).where(Video.path == path, other.is_not(None)).values(path=other))


def remove_video(connection: Connection, video_id: int) -> None:
    """Delete a video with its frames, tasks and texts. Its calls stay in `analyses` without their replies."""
    frames = select(Frame.id).where(Frame.video_id == video_id)
    connection.execute(update(Analysis).where(Analysis.frame_id.in_(frames)).values(raw_reply=None))
    connection.execute(delete(Video).where(Video.id == video_id))


def save_frames(
    connection: Connection,
    task: queue.ClaimedTask,
    frames: Sequence[NewFrame],
    *,
    passes: Collection[str],
    now: datetime,
) -> int:
    """Save kept frames with a describe task for each of `passes`. Returns how many were new. Raises LeaseLostError.

    Idempotent: a frame that exists (from a skim or an interrupted extraction) keeps its row, tasks and descriptions;
    its index, signals and `stands_for` are updated.
    """
    if queue.renew(connection, [task], now=now) != 1:
        raise queue.LeaseLostError(f"the lease of {task.kind} task {task.id} was lost")
    known = {
        row.timestamp: row.id
        for row in connection.execute(
            select(Frame.id, Frame.timestamp).where(
                Frame.video_id == task.video_id, Frame.timestamp.in_([frame.timestamp for frame in frames])
            )
        )
    }
    for frame in frames:
        if frame.timestamp in known and frame.index is not None:  # a skim knows less than extraction
            connection.execute(update(Frame).where(Frame.id == known[frame.timestamp]).values(**frame.columns()))
    new = [frame for frame in frames if frame.timestamp not in known]
    if new:
        connection.execute(update(Task).where(Task.id == task.id, Task.crashes > 0).values(crashes=0))  # progress
        rows = [{"video_id": task.video_id, "is_keyframe": False, **frame.columns()} for frame in new]
        ids = connection.scalars(insert(Frame).returning(Frame.id, sort_by_parameter_order=True), rows).all()
        tasks = [(task.video_id, frame_id, frame.priority) for frame_id, frame in zip(ids, new, strict=True)]
        _add_describe_tasks(connection, tasks, passes)
    return len(new)


def plan_pass(connection: Connection, pass_: str, *, video_ids: Collection[int] | None = None) -> int:
    """Add describe tasks of a pass for the kept frames without one, at the priority of their other pass. How many."""
    other_priority = (
        select(func.max(Task.priority))
        .where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE)
        .scalar_subquery()
    )
    missing = select(Frame.video_id, Frame.id, func.coalesce(other_priority, 0).label("priority")).where(
        ~exists().where(Task.frame_id == Frame.id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_)
    )
    if video_ids is not None:
        missing = missing.where(Frame.video_id.in_(video_ids))
    rows = [(row.video_id, row.id, row.priority) for row in connection.execute(missing.order_by(Frame.id))]
    _add_describe_tasks(connection, rows, [pass_])
    return len(rows)


def save_description(
    connection: Connection,
    task: queue.ClaimedTask,
    description: NewDescription,
    *,
    analyses: Sequence[NewAnalysis],
    now: datetime,
    run_id: int | None,
) -> None:
    """Save the description of a frame with its calls and its search text, and mark the task done.

    Raises LeaseLostError; the caller must then roll its transaction back.
    """
    frame_id = _frame_of(task)
    queue.finish(connection, task)
    changed = update(Frame).where(Frame.id == frame_id)
    tags = list(description.tags)
    if task.pass_ == DEEP:
        values: dict[str, Any] = {"local_description": description.text, "local_tags": tags, "enriched_at": now}
    else:  # measured without a model: never replaces the quick pass of a model
        values = {"quick_description": description.text, "quick_tags": tags}
        changed = changed.where(Frame.event_type.is_(None))
    is_saved = bool(connection.execute(changed.values(**values)).rowcount)
    record_calls(connection, frame_id, analyses, pass_=task.pass_, now=now, run_id=run_id, is_kept=is_saved)
    source = SOURCE_DEEP if task.pass_ == DEEP else SOURCE_QUICK
    if is_saved:
        words = {"text": description.search_text, "tags": " ".join(description.search_tags)}
        search.write_model_text(connection, frame_id, source=source, **words, is_lasting=task.pass_ == DEEP)
    if task.pass_ == DEEP:
        refresh_enrichment(connection, task.video_id)


def save_failure(
    connection: Connection,
    task: queue.ClaimedTask,
    *,
    error: str,
    not_before: datetime | None,
    analyses: Sequence[NewAnalysis],
    now: datetime,
    run_id: int | None,
) -> TaskStatus:
    """Count a failed attempt and save its calls. Returns the new status of the task. Raises LeaseLostError."""
    status = queue.fail(connection, task, error=error, not_before=not_before)
    record_calls(connection, task.frame_id, analyses, pass_=task.pass_, now=now, run_id=run_id)
    if status is TaskStatus.FAILED:
        refresh_enrichment(connection, task.video_id)
    return status


def record_calls(
    connection: Connection,
    frame_id: int | None,
    analyses: Sequence[NewAnalysis],
    *,
    pass_: str,
    now: datetime,
    run_id: int | None = None,
    is_kept: bool = True,
) -> None:
    """Record calls about a frame. If it was removed while they ran, they are kept without replies, for their costs.

    `is_kept` False: no reply became the description, whatever the calls say.
    """
    if not analyses:
        return
    common = {"created_at": now, "run_id": run_id, "frame_id": frame_id, "pass": pass_}
    if not is_kept:
        common["is_kept"] = False
    if connection.scalar(select(Frame.id).where(Frame.id == frame_id)) is None:
        common |= {"frame_id": None, "is_kept": False, "raw_reply": None}  # as `remove_video` leaves its calls
    connection.execute(insert(Analysis), [{**asdict(call), **common} for call in analyses])


def refresh_enrichment(connection: Connection, video_id: int) -> None:
    """Update a video's `enrichment_status` from its deep tasks."""
    status = enrichment_due(connection, video_id)
    if status not in (None, connection.scalar(select(Video.enrichment_status).where(Video.id == video_id))):
        connection.execute(update(Video).where(Video.id == video_id).values(enrichment_status=status))


def enrichment_due(connection: Connection, video_id: int) -> EnrichmentStatus | None:
    """The `enrichment_status` that follows from a video's deep tasks, None if there is no such video."""
    is_deep = (Task.video_id == video_id, Task.kind == TaskKind.DESCRIBE, Task.pass_ == DEEP)
    open_tasks = exists().where(*is_deep, Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)))
    any_done = exists().where(*is_deep, Task.status == TaskStatus.DONE)
    states = select(Video.extraction_status, open_tasks.label("is_open"), any_done.label("is_started"))
    row = connection.execute(states.where(Video.id == video_id)).one_or_none()
    if row is None:
        return None
    ended = row.extraction_status in EXTRACTION_ENDED and not row.is_open
    if ended and not _has_unplanned_frames(connection, video_id):
        return EnrichmentStatus.ENRICHED if row.is_started else EnrichmentStatus.FAILED
    return EnrichmentStatus.ENRICHING if row.is_started else EnrichmentStatus.PENDING


def retry(
    connection: Connection, *, video_id: int | None = None, reason: str | None = None, frame_id: int | None = None
) -> int:
    """Return failed tasks to todo and update the states of their videos. Returns how many tasks."""
    failed = select(Task.video_id).where(Task.status == TaskStatus.FAILED).distinct()
    videos = list(connection.scalars(failed))
    count = queue.retry(connection, video_id=video_id, reason=reason, frame_id=frame_id)
    has_open_extraction = exists().where(
        Task.video_id == Video.id, Task.kind == TaskKind.EXTRACT, Task.status == TaskStatus.TODO
    )
    connection.execute(
        update(Video)
        .where(Video.id.in_(videos), Video.extraction_status == ExtractionStatus.FAILED, has_open_extraction)
        .values(extraction_status=ExtractionStatus.PENDING, error=None)
    )
    for video in videos:
        refresh_enrichment(connection, video)
    return count


def count_crash(connection: Connection, run_id: int, *, now: datetime) -> int:
    """Return the tasks of a crashed run to todo; fail those at CRASH_LIMIT. Returns how many failed."""
    queue.sweep(connection, now=now, dead_runs=[run_id], counts_crash=True)
    over_limit = connection.execute(
        select(Task.id, Task.kind, Task.video_id)
        .where(Task.status == TaskStatus.TODO, Task.crashes >= CRASH_LIMIT)
        .where(Task.kind != TaskKind.BATCH)  # a batch is paid for: its answers are always fetched
    ).all()
    for task in over_limit:
        connection.execute(
            update(Task).where(Task.id == task.id).values(status=TaskStatus.FAILED, error=CRASH_LIMIT_REACHED)
        )
        if task.kind == TaskKind.EXTRACT:
            restart = update(Checkpoint).where(Checkpoint.video_id == task.video_id)  # it may be the cause
            connection.execute(restart.values(index=None, state=None))
            connection.execute(
                update(Video)
                .where(Video.id == task.video_id)
                .values(extraction_status=ExtractionStatus.FAILED, error=CRASH_LIMIT_REACHED)
            )
        refresh_enrichment(connection, task.video_id)
    return len(over_limit)


def count_suspects(
    connection: Connection, kinds: Collection[TaskKind], *, pass_: str, video_ids: Collection[int] | None = None
) -> int:
    """How many unfinished tasks of these kinds must be tried alone."""
    statement = (
        select(func.count())
        .select_from(Task)
        .where(Task.status.in_((TaskStatus.TODO, TaskStatus.DOING)), Task.crashes >= SUSPECT_CRASHES)
        .where(Task.kind.in_(kinds), Task.pass_.in_(("", pass_)))
        .where(Task.not_before.is_(None))
        .where(Task.video_id.in_(video_ids) if video_ids is not None else true())
    )
    return cast("int", connection.scalar(statement))


def _has_unplanned_frames(connection: Connection, video_id: int) -> bool:
    """Whether frames have no deep task: the video was only extracted, or only measured by `baseline`."""
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


def _frame_of(task: queue.ClaimedTask) -> int:
    if task.frame_id is None:
        raise ValueError(f"task {task.id} is not about a frame")
    return task.frame_id
