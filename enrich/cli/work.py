"""Commands that do the work: extract, enrich, worker, retry."""

import asyncio
import logging
import math
import signal
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.estimate import By, Within, end_of
from enrich.cli.options import (
    AsJson,
    DescriberName,
    ModelName,
    Videos,
    find_one_video,
    find_videos,
    open_library,
    settings_for,
)
from enrich.cli.output import print_error, print_json, say
from enrich.errors import SettingsError
from enrich.wording import counted, first_line, printable, span

if TYPE_CHECKING:
    from db.runs import ProcessIdentity
    from enrich.describe.describer import Describer
    from enrich.library.library import Library
    from enrich.worker.run_options import RunOptions, RunSummary
    from enrich.worker.worker import Worker

SHOWN_REASONS = 5
CRASHED = 70  # the exit code that has a supervisor start the worker again

log = logging.getLogger(__name__)

Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Describe at most so many frames.")]


def extract(videos: Videos = None, as_json: AsJson = False) -> None:
    """Only decode videos.

    Their frames are taken out and the pictures kept; nothing is described.
    """
    from enrich.worker.run_options import RunOptions

    settings = settings_for()
    library = open_library(settings)
    order = RunOptions(video_ids=find_videos(library, videos), describe=False)
    conclude(library, order, run_here(library, None, order), as_json=as_json)


def enrich(
    videos: Videos = None,
    within: Within = None,
    by: By = None,
    limit: Limit = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Decode and describe in this terminal.

    With a progress bar, until nothing is left. Exits 1 if anything failed or waits for you.
    """
    from enrich.describe.registry import make_describer
    from enrich.worker.run_options import RunOptions

    settings = settings_for(describer, model)
    now = datetime.now(UTC)
    end = end_of(within, by, now)
    seconds = None if end is None else (end - now).total_seconds()
    library = open_library(settings)
    order = RunOptions(video_ids=find_videos(library, videos), limit=limit, within_seconds=seconds)
    chosen = make_describer(settings)
    if not as_json:
        _say_plan(library, order)
    conclude(library, order, run_here(library, chosen, order), describer=chosen, as_json=as_json)


def worker(
    describer: DescriberName = None,
    model: ModelName = None,
    until: Annotated[str | None, typer.Option("--until", hidden=True)] = None,
    supervisor: Annotated[str | None, typer.Option("--supervisor", hidden=True)] = None,
) -> None:
    """Work and wait for more, until stopped.

    Whatever is in the library is worked off; SIGTERM or Ctrl-C stops it.
    """
    from enrich.control.launch import identity
    from enrich.describe.registry import make_describer
    from enrich.errors import EveryFrameError
    from enrich.logs import catch_crashes, log_path, log_to_file, log_to_stderr
    from enrich.process import this_process
    from enrich.worker.run_options import RunOptions

    settings = settings_for(describer, model)
    order = RunOptions(until_idle=False, keeps_hours=True, until=datetime.fromisoformat(until) if until else None)
    if supervisor is None:
        log_to_stderr()
        _run(open_library(settings), make_describer(settings), order)
        return
    path = log_path(settings)
    log_to_file(path)
    catch_crashes(path.parent)
    library = open_library(settings)
    boss = identity(supervisor, this_process().hostname)
    try:
        _run(library, make_describer(settings), order, supervisor=boss, log_path=path)
    except EveryFrameError:
        raise  # it cannot work like this, and says so
    except Exception as error:
        log.critical("%s: %s", type(error).__name__, error, exc_info=error)
        raise typer.Exit(CRASHED) from error


def retry(
    video: Annotated[str | None, typer.Argument(metavar="[VIDEO]", help="Only this video's.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Only those with this text in their reason.")] = None,
    frame: Annotated[int | None, typer.Option("--frame", help="Only this frame of VIDEO, by its number.")] = None,
) -> None:
    """Put failed frames and videos back into the queue."""
    from db import store
    from db.engine import writing
    from db.queries import frame_of_index

    library = open_library()
    video_id = find_one_video(library, video).id if video else None
    if frame is not None and video_id is None:
        raise typer.BadParameter("name the VIDEO it belongs to", param_hint="--frame")
    with writing(library.engine) as connection:
        kept = frame_of_index(connection, video_id, frame) if video_id is not None and frame is not None else None
        if frame is not None and kept is None:
            raise SettingsError(f"no kept frame stands for frame {frame}: `everyframe show {video}` lists them")
        count = store.retry(
            connection,
            video_id=video_id,
            reason=printable(reason) if reason else None,
            frame_id=kept.id if kept is not None else None,
        )
    say(f"{count} put back. Go on with: everyframe enrich" if count else "Nothing had failed.")


def _say_plan(library: "Library", order: "RunOptions") -> None:
    from enrich.cli.estimate import planned

    text = planned(library, order.video_ids, seconds=order.within_seconds or math.inf)
    if text is not None:
        say(f"Plan:    {text}")
    elif order.within_seconds is not None:
        say("Plan:    as soon as the model's speed is known; the progress will say")


def run_here(library: "Library", describer: "Describer | None", order: "RunOptions") -> "RunSummary":
    """Run a worker in this terminal, with its progress shown. Raises ModelError before it begins."""
    from enrich.cli.progress import watch

    return _run(library, describer, order, watch=watch)


def conclude(
    library: "Library",
    order: "RunOptions",
    summary: "RunSummary",
    *,
    describer: "Describer | None" = None,
    as_json: bool = False,
) -> None:
    """Say what a run came to; exit 1 unless all is well, 130 if it was interrupted."""
    from enrich.worker.run_options import RunEnd

    if as_json:
        print_json(summary)
    else:
        _say_summary(library, order, summary, describer)
    if summary.ending is RunEnd.STOPPED:
        raise typer.Exit(130)
    if not summary.is_good:
        raise typer.Exit(1)


def _say_summary(library: "Library", order: "RunOptions", summary: "RunSummary", describer: "Describer | None") -> None:
    from enrich.cli.estimate import reached
    from enrich.worker.run_options import RunEnd

    counts = summary.counts
    is_idle = not counts.videos_extracted and not counts.frames_described and summary.ending is RunEnd.FINISHED
    done = []
    if counts.videos_extracted or describer is None:
        done.append(f"{counted(counts.videos_extracted, 'video')} decoded")
    if describer is not None:
        how = "described" if describer.name != "baseline" else "measured by the baseline; no model has described them"
        done.append(f"{counted(counts.frames_described, 'frame')} {how}")
    say("There was nothing to do." if is_idle else f"{', '.join(done)} ({span(summary.seconds)}).")
    if counts.warnings:
        having = "description has" if counts.warnings == 1 else "descriptions have"
        say(f"{counts.warnings:,} {having} a warning: `everyframe show VIDEO` shows which.")
    for title, reason in summary.waiting:
        print_error(f"{title} waits: {reason}")
    if summary.failures:
        _say_failures(library, order, summary, describer)
    match summary.ending:
        case RunEnd.STOPPED:
            say(f"Stopped; {_left(library, order, summary)}. Go on with: everyframe enrich")
        case RunEnd.TIME_UP | RunEnd.LIMIT:
            if describer is not None and describer.is_model:
                say(f"Reached: {reached(library, order.video_ids) or 'every frame'}.")
            say(f"{_left(library, order, summary).capitalize()}. Go on with: everyframe enrich")
        case RunEnd.FINISHED:
            pass


def _left(library: "Library", order: "RunOptions", summary: "RunSummary") -> str:
    """What there is still to do; how many frames a video has is known only when it is decoded."""
    from db import queries
    from db.engine import reading

    with reading(library.engine) as connection:
        videos = len(queries.open_extractions(connection, order.video_ids))
    parts = [counted(summary.left, "frame")] if summary.left else []
    if videos:
        parts.append(f"the rest of {counted(videos, 'video')}")
    return f"{' and '.join(parts) or 'nothing'} {'is' if summary.left + videos < 2 else 'are'} left"  # noqa: PLR2004


def _say_failures(
    library: "Library", order: "RunOptions", summary: "RunSummary", describer: "Describer | None"
) -> None:
    """How many of how many, why, and what to do; failures of earlier runs are counted too."""
    from db import queries
    from db.engine import reading
    from db.models import ExtractionStatus

    with reading(library.engine) as connection:
        videos = queries.videos(connection, order.video_ids)
        frames = queries.progress(connection, describer.target_pass if describer else "deep", order.video_ids)
    broken = sum(video.extraction_status is ExtractionStatus.FAILED for video in videos)
    of = []
    if broken:
        of.append(f"{broken:,} of {counted(len(videos), 'video')}")
    if frames.failed:
        of.append(f"{frames.failed:,} of {counted(frames.left + frames.done + frames.failed, 'frame')}")
    print_error(f"{' and '.join(of) or 'something'} failed; `everyframe retry` puts what failed back. Why:")
    for reason, count in summary.failures[:SHOWN_REASONS]:
        print_error(f"{count:,} × {first_line(reason, 300)}")
    if len(summary.failures) > SHOWN_REASONS:
        print_error(f"and {len(summary.failures) - SHOWN_REASONS} more reasons: `everyframe show VIDEO` lists them")


def _run(
    library: "Library",
    describer: "Describer | None",
    order: "RunOptions",
    *,
    watch: "Callable[[Worker, Library, RunOptions], Coroutine[None, None, None]] | None" = None,
    supervisor: "ProcessIdentity | None" = None,
    log_path: Path | None = None,
) -> "RunSummary":
    from enrich.analyzer import host_problems
    from enrich.quick.batches import watch_batches
    from enrich.worker.worker import Worker

    async def main() -> "RunSummary":
        try:
            if describer is not None and supervisor is None:  # else nobody reads it here: the run's row says it
                for trouble in await host_problems(describer):
                    print_error(str(trouble))
            worker = Worker(
                library,
                describer,
                order,
                supervisor=supervisor,
                log_path=str(log_path) if log_path else None,
                side_tasks=[watch_batches],
            )
            _obey_signals(worker.stop)
            watching = asyncio.ensure_future(watch(worker, library, order)) if watch else None
            try:
                return await worker.run()
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
        finally:
            if describer is not None:
                await describer.close()

    return asyncio.run(main())


def _obey_signals(stop: Callable[[], None]) -> None:
    """SIGINT and SIGTERM ask the worker to stop; a second one ends the process at once."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), handle)
