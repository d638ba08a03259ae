"""The tables. Dates are aware UTC, timestamps are seconds from the start of the stream (floats), sizes are pixels.

The columns `enrichment_status`, `local_description`, `local_tags` and `enriched_at` are public names and never change.
"""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    case,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Values of the `pass` columns: what a call or a task is for.
DEEP = "deep"
QUICK = "quick"
AUDIT = "audit"  # calls that compare the descriptions of skipped frames
AUDITION = "audition"  # calls that compare models
PASSES = (QUICK, DEEP)  # the passes whose calls produce descriptions


class ExtractionStatus(StrEnum):
    """How far the frames of a video have been extracted."""

    PENDING = "pending"
    SKIMMED = "skimmed"
    EXTRACTING = "extracting"
    EXTRACTED = "extracted"
    FAILED = "failed"


EXTRACTION_ENDED = (ExtractionStatus.EXTRACTED, ExtractionStatus.FAILED)  # no more frames will be found


class EnrichmentStatus(StrEnum):
    """How far the deep pass has described the frames of a video."""

    PENDING = "pending"
    ENRICHING = "enriching"
    ENRICHED = "enriched"
    FAILED = "failed"


class TaskKind(StrEnum):
    """What a task does."""

    SKIM = "skim"
    EXTRACT = "extract"
    DESCRIBE = "describe"
    BATCH = "batch"  # images sent to Claude as one batch: see db.batches


class TaskStatus(StrEnum):
    """todo → doing (claimed) → done, back to todo (released or retried), or failed: see `db.queue`."""

    TODO = "todo"
    DOING = "doing"
    DONE = "done"
    FAILED = "failed"


class RunState(StrEnum):
    """starting → running ⇄ waiting or paused → stopping → stopped or finished.

    `crashed` is written by the supervisor, or by the next run that finds the process gone.
    """

    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FINISHED = "finished"
    CRASHED = "crashed"


class HostState(StrEnum):
    """probing → serving ⇄ backing off → probing; stopped at the end of a run. Stored in `Run.activity`."""

    PROBING = "probing"
    SERVING = "serving"
    BACKING_OFF = "backing off"
    STOPPED = "stopped"


LIVE_STATES = (RunState.STARTING, RunState.RUNNING, RunState.WAITING, RunState.PAUSED, RunState.STOPPING)


class Utc(TypeDecorator[datetime]):
    """A datetime in UTC: always aware in Python, also if the database stores it without a time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("datetime without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite generates ids only for INTEGER primary keys


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        datetime: Utc(),
        list[float]: JSON(none_as_null=True),
        list[str]: JSON(none_as_null=True),
        list[dict[str, str]]: JSON(none_as_null=True),
        dict[str, Any]: JSON(none_as_null=True),
    }


def _partial(name: str, *columns: str, where: str) -> Index:
    """A partial index. SQLite uses it only for queries that contain `where` literally.

    The index includes the columns of `where`, so that a query is answered from it without reading the rows.
    """
    return Index(
        name, *columns, sqlite_where=text(where), postgresql_where=text(where.replace("is_kept = 1", "is_kept"))
    )


class Video(Base):
    """A file the user added. EveryFrame only reads it."""

    __tablename__ = "videos"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    path: Mapped[str]  # the location that is used now
    fingerprint: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    duration: Mapped[float | None]  # seconds, from the file's header; corrected once decoded
    fps: Mapped[float | None]
    width: Mapped[int]  # upright, with square pixels
    height: Mapped[int]
    codec: Mapped[str]
    rotation: Mapped[int]  # clockwise degrees that turn a decoded frame upright
    recorded_at: Mapped[datetime | None]
    start_timecode: Mapped[str | None]
    camera: Mapped[str | None]
    recording: Mapped[str | None]  # the same for all files into which a camera split one recording
    chapter: Mapped[int | None]  # position of the file in the recording, from 1
    warnings: Mapped[list[str]]  # what may lower the quality of its descriptions, such as ungraded log footage
    frame_count: Mapped[int | None]  # source frames: an estimate until extracted, then the number decoded
    decode_failures: Mapped[int] = mapped_column(default=0)
    extraction_status: Mapped[str] = mapped_column(default=ExtractionStatus.PENDING)
    enrichment_status: Mapped[str] = mapped_column(default=EnrichmentStatus.PENDING)
    error: Mapped[str | None]
    context: Mapped[str] = mapped_column(default="")
    sampling: Mapped[str]
    added_at: Mapped[datetime]
    image_folder: Mapped[str] = mapped_column(server_default="")  # below the frames folder; never changes


class Location(Base):
    """A path at which a video's file was found. The first of a video, by id, is used while the file is there."""

    __tablename__ = "locations"
    __table_args__ = (Index(None, "video_id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(unique=True)
    added_at: Mapped[datetime]


class Frame(Base):
    """A kept frame: a distinct frame of a video, stored as a JPEG."""

    __tablename__ = "frames"
    __table_args__ = (
        UniqueConstraint("video_id", "timestamp"),
        Index(None, "video_id", "index"),
        _partial("ix_frames_enriched_at", "enriched_at", where="enriched_at IS NOT NULL"),
        _partial("ix_frames_waiting", "video_id", "timestamp", "local_description", where="local_description IS NULL"),
        _partial("ix_frames_corrected", "video_id", "timestamp", "edited_at", where="edited_at IS NOT NULL"),
        _partial("ix_frames_reviewed", "video_id", "timestamp", "reviewed_at", where="reviewed_at IS NOT NULL"),
        _partial("ix_frames_excitement", "video_id", "timestamp", "excitement", where="excitement IS NOT NULL"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    index: Mapped[int | None]  # of its source frame, in decoder order from 0; null until decoding has reached it
    timestamp: Mapped[float]
    stands_for: Mapped[int | None]  # number of source frames it covers, itself included; null until known
    scene: Mapped[int | None]
    image_path: Mapped[str]  # relative to the frames folder
    dhash: Mapped[str | None]  # 64 bits as 16 hexadecimal digits
    sharpness: Mapped[float | None]
    brightness: Mapped[float | None]  # mean luma, 0 to 255
    motion: Mapped[float | None]  # mean luma difference to the source frame before, 0 to 255
    is_keyframe: Mapped[bool] = mapped_column(default=False)  # selected for the quick pass; not a codec's key frame
    quick_description: Mapped[str | None]
    quick_tags: Mapped[list[str] | None]
    event_type: Mapped[str | None]
    excitement: Mapped[float | None]  # 0 to 10
    local_description: Mapped[str | None]
    local_tags: Mapped[list[str] | None]
    enriched_at: Mapped[datetime | None]
    edited_description: Mapped[str | None]
    edited_tags: Mapped[list[str] | None]
    edited_at: Mapped[datetime | None]
    reviewed_at: Mapped[datetime | None]


class Tally(Base):
    """The frame and task counts of a video, maintained by triggers: see `db.counts`."""

    __tablename__ = "tallies"

    video_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    kept: Mapped[int]
    described: Mapped[int]  # by the deep pass
    covered: Mapped[int]  # source frames that the described frames stand for
    planned: Mapped[int]  # describe tasks of the deep pass
    done: Mapped[int]  # of these, finished


class Task(Base):
    """A unit of work in the queue: see `db.queue`."""

    __tablename__ = "tasks"
    __table_args__ = (
        Index("ix_tasks_claim", "status", "kind", "pass", text("priority DESC"), "id"),
        Index("ix_tasks_lease", "status", "lease_until"),
        Index("ix_tasks_video", "video_id", "status", "kind", "pass"),
        UniqueConstraint("frame_id", "kind", "pass"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str]
    pass_: Mapped[str] = mapped_column("pass", default="")  # quick or deep; empty for kinds without passes
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    frame_id: Mapped[int | None] = mapped_column(ForeignKey("frames.id", ondelete="CASCADE"))
    segment_id: Mapped[int | None] = mapped_column(BigInteger)
    payload: Mapped[dict[str, Any] | None]
    priority: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(default=TaskStatus.TODO)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    host: Mapped[str | None]  # the process that claimed it: see db.queue.Claim
    lease_token: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)  # failed attempts that count towards the limit
    crashes: Mapped[int] = mapped_column(default=0)  # how often the worker crashed while the task was claimed
    not_before: Mapped[datetime | None]
    error: Mapped[str | None]


class Checkpoint(Base):
    """Where the interrupted extraction of a video continues, from its first claim until it is extracted."""

    __tablename__ = "checkpoints"

    video_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    wanted: Mapped[list[float]]  # timestamps of the skimmed frames that the extraction keeps, in seconds
    index: Mapped[int | None]  # of the source frame at which decoding continues; null: from the start
    state: Mapped[bytes | None]  # of the extraction after that frame: see enrich.video.checkpoint


class Epoch(Base):
    """A stretch of a video between two restarts of its file's clock, as far as extracted: see enrich.video.packets."""

    __tablename__ = "epochs"

    video_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    first_index: Mapped[int]  # of its first source frame
    first_at: Mapped[float]  # timestamp of that frame
    clock_at: Mapped[float]  # the same in the clock of the file, in seconds
    is_steady: Mapped[bool]  # each of its frames is later than the one before it


class Analysis(Base):
    """A model call, never deleted: speed, time left, costs and comparisons are computed from these rows."""

    __tablename__ = "analyses"
    __table_args__ = (
        Index(None, "frame_id"),
        Index("ix_analyses_model_id", "describer", "model", "id"),
        _partial("ix_analyses_pace", "created_at", "run_id", "pass", "is_kept", where="is_kept = 1"),
        _partial("ix_analyses_doubtful", "frame_id", where="is_kept = 1 AND CAST(warnings AS TEXT) != '[]'"),
        _partial("ix_analyses_paid", "created_at", "cost_usd", where="cost_usd > 0"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    created_at: Mapped[datetime]  # of a paid call, when it was sent
    run_id: Mapped[int | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    frame_id: Mapped[int | None] = mapped_column(ForeignKey("frames.id", ondelete="SET NULL"))
    segment_id: Mapped[int | None] = mapped_column(BigInteger)
    pass_: Mapped[str] = mapped_column("pass")
    describer: Mapped[str]
    model: Mapped[str]
    model_digest: Mapped[str]
    host: Mapped[str]
    prompt_version: Mapped[str]
    latency_seconds: Mapped[float]  # wall clock, including `load_seconds`
    load_seconds: Mapped[float]
    prompt_tokens: Mapped[int | None]
    output_tokens: Mapped[int | None]
    cost_usd: Mapped[float]
    raw_reply: Mapped[str | None]  # set to null when the video is removed
    warnings: Mapped[list[dict[str, str]]]  # [{"problem": …, "detail": …}]
    is_kept: Mapped[bool]  # whether the reply became the description


def has_description(call: type[Analysis]) -> ColumnElement[bool]:
    """Whether the frame (joined) still has a description of the call's pass: `verify` may have discarded it."""
    return case((call.pass_ == DEEP, Frame.local_description), else_=Frame.quick_description).is_not(None)


class Expense(Base):
    """The calls of a video summed up by pass and model, maintained by a trigger: see `db.costs`."""

    __tablename__ = "expenses"
    __table_args__ = (UniqueConstraint("video_id", "pass", "describer", "model"), Index(None, "pass", "last_at"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    video_id: Mapped[int | None] = mapped_column(ForeignKey("videos.id", ondelete="SET NULL"))  # null: removed
    pass_: Mapped[str] = mapped_column("pass")
    describer: Mapped[str]
    model: Mapped[str]
    calls: Mapped[int]
    kept: Mapped[int]  # calls whose reply became a description
    busy_seconds: Mapped[float]  # wall clock: concurrent calls count once
    slack_seconds: Mapped[float]  # idle time between the start of the last call and the end of the call before it
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    cost_usd: Mapped[float]
    last_at: Mapped[datetime]  # when the last of these calls was recorded


class Run(Base):
    """One run of a worker, from start to end: see `db.runs`."""

    __tablename__ = "runs"
    __table_args__ = (Index(None, "state"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    hostname: Mapped[str]  # for people; machines are told apart by their id
    machine_id: Mapped[str | None]  # see enrich.process; null in runs that began before schema 0002
    pid: Mapped[int]
    process_created_at: Mapped[float]  # seconds, in the clock of its machine: see enrich.process
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    progress_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(default=RunState.STARTING)
    reason: Mapped[str | None]
    requested: Mapped[str | None]  # stop, pause or resume: written by other processes, carried out by the worker
    options: Mapped[dict[str, Any]]
    counts: Mapped[dict[str, Any]]
    error: Mapped[str | None]
    log_path: Mapped[str | None]
    supervisor: Mapped[dict[str, Any] | None]  # {"pid", "created_at"}, on the same machine; null: none
    activity: Mapped[dict[str, Any] | None]  # what it was doing at its last heartbeat: see enrich.worker.activity
