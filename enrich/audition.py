"""An audition: several models describe the same frames, one model after the other, so that they can be compared.

The frames are spread evenly over the library and are the same every time. Each model gets as many concurrent calls as
in normal work, so that the measured speed is right. Runs on one asyncio loop. Calls are recorded under a pass of their
own; no description in the library changes. No worker should describe at the same time, because both would compete for
the GPU.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import checks, queries, store
from db.engine import reading, writing
from db.models import AUDITION, DEEP, RunState
from db.queries import FrameRow, VideoRow
from enrich.control.control import running_worker
from enrich.describe.asking import CrashIsolation, ask, run_on_hosts
from enrich.describe.describer import Answer, Describer, Image, MotionHint, Question
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import DescribeError, RunningError, VideoError
from enrich.library.images import load_image
from enrich.library.library import Library
from enrich.library.records import call_records
from enrich.schedule.forecast import video_states

MAX_CONSECUTIVE_FAILURES = 3  # failed calls, after which the host is blamed
DAY_SECONDS = 86400.0
DESCRIBING_STATES = (RunState.STARTING, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class AuditionFrame:
    """A kept frame and its video."""

    frame: FrameRow
    video: VideoRow


@dataclass(frozen=True, slots=True)
class AuditionReply:
    """One model's reply for one frame."""

    model: str
    frame_id: int
    video_id: int
    timestamp: float
    text: str | None
    tags: list[str]
    seconds: float | None  # without loading the model
    warnings: list[dict[str, str]]
    error: str | None  # why there is no text


@dataclass(frozen=True, slots=True)
class AuditionResult:
    """One model's speed; None if it could not be measured."""

    model: str
    seconds_per_frame: float | None
    days_for_library: float | None
    frames: int  # described for the measurement
    library_frames: int  # kept frames, plus those expected of videos not extracted yet
    error: str | None  # why not all frames were described


@dataclass(slots=True)
class _ModelRun:
    """The state of one model's run."""

    describer: Describer
    waiting: list[AuditionFrame]
    on_reply: Callable[[AuditionReply], None]
    history: ReplyHistory = field(default_factory=ReplyHistory)
    isolation: CrashIsolation = field(default_factory=CrashIsolation)
    seconds: list[float] = field(default_factory=list)  # per described frame
    slots: int = 0
    trouble: DescribeError | None = None


def require_idle_worker(library: Library) -> None:
    """Raise RunningError if a worker is describing."""
    run = running_worker(library.engine)
    if run is None or run.state not in DESCRIBING_STATES:
        return
    with reading(library.engine) as connection:
        is_busy = queries.progress(connection, DEEP).left or queries.open_extractions(connection)
    if is_busy:
        raise RunningError(
            "the worker is describing frames: pause it first with `everyframe pause`. Both would compete for the GPU, "
            "and the measured speed would be wrong"
        )


def choose_frames(connection: Connection, *, count: int, video_id: int | None = None) -> list[AuditionFrame]:
    """Choose `count` kept frames, spread evenly over the library or one video, in order; all if there are fewer."""
    videos = queries.videos(connection, None if video_id is None else [video_id])
    total = sum(video.kept for video in videos)
    positions = [(2 * number + 1) * total // (2 * count) for number in range(count)] if total > count else range(total)
    chosen: list[AuditionFrame] = []
    before = 0
    for video in videos:
        for position in positions:
            if before <= position < before + video.kept:
                frame_id = checks.nth_frame_id(connection, video.id, position - before)
                frame = None if frame_id is None else queries.frame(connection, frame_id)
                if frame is not None:  # it may have been deleted meanwhile
                    chosen.append(AuditionFrame(frame, video))
        before += video.kept
    return chosen


async def run_audition(
    library: Library,
    describer: Describer,
    chosen: Sequence[AuditionFrame],
    *,
    on_reply: Callable[[AuditionReply], None],
) -> AuditionResult:
    """Have one model describe the frames. Unloads the model and closes the describer at the end.

    `on_reply` runs on the event loop's thread, after each frame.
    """
    run = _ModelRun(describer, list(chosen), on_reply)
    try:
        problem = await run_on_hosts(
            describer, library.settings.concurrency, lambda report: _describe_all(library, run, report.host)
        )
        run.trouble = run.trouble or problem
    finally:
        for host in describer.hosts:
            with suppress(DescribeError):
                await describer.unload(host)
        await describer.close()
    return await asyncio.to_thread(_result, library, run)


async def _describe_all(library: Library, run: _ModelRun, host: str) -> None:
    run.slots += 1
    failures = 0
    while run.waiting and failures < MAX_CONSECUTIVE_FAILURES:
        one = run.waiting.pop(0)
        try:
            await _describe(library, run, host, one)
        except DescribeError as error:
            failures += 1
            run.trouble = error
            run.on_reply(_failed(run, one, str(error)))
        except (VideoError, OSError) as error:
            run.on_reply(_failed(run, one, str(error)))
        else:
            failures = 0


async def _describe(library: Library, run: _ModelRun, host: str, one: AuditionFrame) -> None:
    jpeg = await asyncio.to_thread(load_image, library.settings, one.video, one.frame)
    image = Image(jpeg, one.frame.timestamp, MotionHint(motion=one.frame.motion))
    question = Question((image,), context=one.video.context, language=library.settings.language)
    dhash = int(one.frame.dhash or "0", 16)
    answer = await ask(
        run.describer,
        question,
        host=host,
        isolation=run.isolation,
        worth_retrying=run.history.is_worth_retrying,
        same_text=lambda description: run.describer.is_model and run.history.is_same_text(description, dhash),
    )
    run.history.learn(answer, dhash)
    await asyncio.to_thread(_record, library, one, answer)
    seconds = sum(max(0.0, call.latency_seconds - call.load_seconds) for call in answer.calls)
    run.seconds.append(seconds)
    description = answer.description
    run.on_reply(
        AuditionReply(
            model=run.describer.model,
            frame_id=one.frame.id,
            video_id=one.video.id,
            timestamp=one.frame.timestamp,
            text=description.text if description is not None else None,
            tags=list(description.tags) if description is not None else [],
            seconds=seconds,
            warnings=[{"problem": warning.problem.value, "detail": warning.detail} for warning in answer.warnings],
            error=None if description is not None else "the model's reply was empty",
        )
    )


def _failed(run: _ModelRun, one: AuditionFrame, error: str) -> AuditionReply:
    return AuditionReply(
        run.describer.model, one.frame.id, one.video.id, one.frame.timestamp, None, [], None, [], error
    )


def _record(library: Library, one: AuditionFrame, answer: Answer) -> None:
    rows = call_records(answer, is_description=False)
    with writing(library.engine) as connection:
        store.record_calls(connection, one.frame.id, rows, pass_=AUDITION, now=datetime.now(UTC))


def _result(library: Library, run: _ModelRun) -> AuditionResult:
    with reading(library.engine) as connection:
        frames = sum(video.kept for video in video_states(connection, None))
    seconds = sum(run.seconds) / len(run.seconds) if run.seconds else None
    is_complete = not run.waiting and run.seconds
    return AuditionResult(
        model=run.describer.model,
        seconds_per_frame=seconds,
        days_for_library=None if seconds is None else frames * seconds / run.slots / DAY_SECONDS,
        frames=len(run.seconds),
        library_frames=frames,
        error=None if is_complete or run.trouble is None else str(run.trouble),
    )
