"""Which frames an audition is held with: spread evenly over all that the library has kept, the same every time.

The audition: each model describes the same frames, one model after the other, with as many calls at once as at work.

One asyncio loop. The calls are booked under a pass of their own, so that the models' speeds are learnt from them; they
become nobody's descriptions. No worker should describe beside it: both would fight for the memory of the model.
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
from enrich.describe.asking import ask, run_on_hosts
from enrich.describe.describer import Answer, Describer, Image, MotionHint, Question
from enrich.describe.reply_checks import ReplyHistory
from enrich.errors import DescribeError, RunningError, VideoError
from enrich.library.images import load_image
from enrich.library.library import Library
from enrich.library.records import call_records
from enrich.schedule.forecast import video_states

FAILURES_IN_A_ROW = 3  # calls: then it is the host
DAY_SECONDS = 86400.0
AT_WORK = (RunState.STARTING, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class AuditionFrame:
    """A kept frame and its video."""

    frame: FrameRow
    video: VideoRow


def choose(connection: Connection, *, count: int, video_id: int | None = None) -> list[AuditionFrame]:
    """So many kept frames of the library, or of one video, in order; all, if there are no more."""
    videos = queries.videos(connection, None if video_id is None else [video_id])
    total = sum(video.kept for video in videos)
    places = [(2 * number + 1) * total // (2 * count) for number in range(count)] if total > count else range(total)
    chosen: list[AuditionFrame] = []
    before = 0
    for video in videos:
        for place in places:
            if before <= place < before + video.kept:
                frame_id = checks.nth_frame_id(connection, video.id, place - before)
                frame = None if frame_id is None else queries.frame(connection, frame_id)
                if frame is not None:  # it may have gone since it was counted
                    chosen.append(AuditionFrame(frame, video))
        before += video.kept
    return chosen


@dataclass(frozen=True, slots=True)
class AuditionReply:
    """What a model says of one frame; `seconds` without loading the model. `error`: why it says nothing."""

    model: str
    frame_id: int
    video_id: int
    timestamp: float
    text: str | None
    tags: list[str]
    seconds: float | None
    warnings: list[dict[str, str]]
    error: str | None


@dataclass(frozen=True, slots=True)
class AuditionResult:
    """A model's pace over the `frames` it was measured with; None: it could not be. `error`: what was in the way."""

    model: str
    seconds_per_frame: float | None
    days_for_library: float | None
    frames: int
    library_frames: int  # all that are kept, and are expected of what is not decoded yet
    error: str | None


@dataclass(slots=True)
class _ModelRun:
    """One model's part."""

    describer: Describer
    waiting: list[AuditionFrame]
    on_take: Callable[[AuditionReply], None]
    guard: ReplyHistory = field(default_factory=ReplyHistory)
    seconds: list[float] = field(default_factory=list)  # of each frame that was answered
    slots: int = 0
    trouble: DescribeError | None = None


def require_idle_worker(library: Library) -> None:
    """Raise RunningError if a worker is describing."""
    run = running_worker(library.engine)
    if run is None or run.state not in AT_WORK:
        return
    with reading(library.engine) as connection:
        is_busy = queries.progress(connection, DEEP).left or queries.open_extractions(connection)
    if is_busy:
        raise RunningError(
            "the worker is at work: pause it first with `everyframe pause`, or both would fight for the memory of the "
            "model, and no speed would be true"
        )


async def run_audition(
    library: Library, describer: Describer, chosen: Sequence[AuditionFrame], *, on_take: Callable[[AuditionReply], None]
) -> AuditionResult:
    """Have one model describe the frames, each told as it is done; the describer is closed, the model unloaded."""
    turn = _ModelRun(describer, list(chosen), on_take)
    try:
        problem = await run_on_hosts(
            describer, library.settings.concurrency, lambda report: _describe_all(library, turn, report.host)
        )
        turn.trouble = turn.trouble or problem
    finally:
        for host in describer.hosts:
            with suppress(DescribeError):
                await describer.unload(host)
        await describer.close()
    return await asyncio.to_thread(_verdict, library, turn)


async def _describe_all(library: Library, turn: _ModelRun, host: str) -> None:
    turn.slots += 1
    failures = 0
    while turn.waiting and failures < FAILURES_IN_A_ROW:
        one = turn.waiting.pop(0)
        try:
            await _describe(library, turn, host, one)
        except DescribeError as error:
            failures += 1
            turn.trouble = error
            turn.on_take(_failed(turn, one, str(error)))
        except (VideoError, OSError) as error:
            turn.on_take(_failed(turn, one, str(error)))
        else:
            failures = 0


async def _describe(library: Library, turn: _ModelRun, host: str, one: AuditionFrame) -> None:
    jpeg = await asyncio.to_thread(load_image, library.settings, one.video, one.frame)
    picture = Image(jpeg, one.frame.timestamp, MotionHint(motion=one.frame.motion))
    question = Question((picture,), context=one.video.context, language=library.settings.language)
    dhash = int(one.frame.dhash or "0", 16)
    answer = await ask(
        turn.describer,
        question,
        host=host,
        worth_retrying=turn.guard.is_worth_retrying,
        same_text=lambda said: turn.describer.is_model and turn.guard.is_same_text(said, dhash),
    )
    turn.guard.learn(answer, dhash)
    await asyncio.to_thread(_book, library, one, answer)
    seconds = sum(max(0.0, call.latency_seconds - call.load_seconds) for call in answer.calls)
    turn.seconds.append(seconds)
    said = answer.description
    turn.on_take(
        AuditionReply(
            model=turn.describer.model,
            frame_id=one.frame.id,
            video_id=one.video.id,
            timestamp=one.frame.timestamp,
            text=said.text if said is not None else None,
            tags=list(said.tags) if said is not None else [],
            seconds=seconds,
            warnings=[{"problem": doubt.problem.value, "detail": doubt.detail} for doubt in answer.warnings],
            error=None if said is not None else "the model's reply was empty",
        )
    )


def _failed(turn: _ModelRun, one: AuditionFrame, error: str) -> AuditionReply:
    return AuditionReply(
        turn.describer.model, one.frame.id, one.video.id, one.frame.timestamp, None, [], None, [], error
    )


def _book(library: Library, one: AuditionFrame, answer: Answer) -> None:
    rows = call_records(answer, is_description=False)
    with writing(library.engine) as connection:
        if queries.frame(connection, one.frame.id) is not None:
            store.record_calls(connection, one.frame.id, rows, pass_=AUDITION, now=datetime.now(UTC))


def _verdict(library: Library, turn: _ModelRun) -> AuditionResult:
    with reading(library.engine) as connection:
        frames = sum(film.kept for film in video_states(connection, None))
    pace = sum(turn.seconds) / len(turn.seconds) if turn.seconds else None
    is_whole = not turn.waiting and turn.seconds
    return AuditionResult(
        model=turn.describer.model,
        seconds_per_frame=pace,
        days_for_library=None if pace is None else frames * pace / turn.slots / DAY_SECONDS,
        frames=len(turn.seconds),
        library_frames=frames,
        error=None if is_whole or turn.trouble is None else str(turn.trouble),
    )
