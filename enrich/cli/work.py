"""Commands that process videos: extract, enrich, worker, retry."""

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
from enrich.wording import format_count, format_duration, one_line, printable

if TYPE_CHECKING:
    from db.runs import ProcessIdentity
    from enrich.describe.describer import Describer
    from enrich.library.library import Library
    from enrich.worker.run_options import RunOptions, RunSummary
    from enrich.worker.worker import Worker

SHOWN_REASONS = 5
CRASHED = 70  # exit code on which the supervisor restarts the worker

log = logging.getLogger(__name__)

Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Stop after this many frames.")]


def extract(videos: Videos = None, as_json: AsJson = False) -> None:
    """Extract frames without describing them.

    Example: everyframe extract wedding
    """
    from enrich.worker.run_options import RunOptions

    settings = settings_for()
    library = open_library(settings)
    options = RunOptions(video_ids=find_videos(library, videos), describe=False)
    conclude(library, options, run_here(library, None, options), as_json=as_json)


def enrich(
    videos: Videos = None,
    within: Within = None,
    by: By = None,
    limit: Limit = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Extract and describe videos in this terminal.

    Runs until everything is described, with a progress bar. Press Ctrl-C to stop; the next run continues where it
    stopped. Exits with 1 if anything failed or needs your attention.

    Example: everyframe enrich wedding --within 8h
    """
    from enrich.describe.registry import make_describer
    from enrich.worker.run_options import RunOptions

    settings = settings_for(describer, model)
    now = datetime.now(UTC)
    end = end_of(within, by, now)
    seconds = None if end is None else (end - now).total_seconds()
    library = open_library(settings)
    options = RunOptions(video_ids=find_videos(library, videos), limit=limit, within_seconds=seconds)
    chosen = make_describer(settings)
    if not as_json:
        _say_plan(library, options)
    conclude(library, options, run_here(library, chosen, options), describer=chosen, as_json=as_json)


def worker(
    describer: DescriberName = None,
    model: ModelName = None,
    until: Annotated[str | None, typer.Option("--until", hidden=True)] = None,
    supervisor: Annotated[str | None, typer.Option("--supervisor", hidden=True)] = None,
) -> None:
    """Run the worker in the foreground.

    Processes the library and waits for new videos until SIGTERM or Ctrl-C. Use this command in a service or container;
    otherwise use `everyframe start`.
    """
    from db.errors import StorageError
    from enrich.control.launch import parse_identity
    from enrich.describe.registry import make_describer
    from enrich.errors import EveryFrameError
    from enrich.logs import Action, about, catch_crashes, log_path, log_to_file, log_to_stderr
    from enrich.worker.run_options import RunOptions

    settings = settings_for(describer, model)
    options = RunOptions(until_idle=False, keeps_hours=True, until=datetime.fromisoformat(until) if until else None)
    if supervisor is None:
        log_to_stderr()
        _run(open_library(settings), make_describer(settings), options)
        return
    path = log_path(settings)
    log_to_file(path)
    catch_crashes(path.parent)
    library = open_library(settings)
    owner = parse_identity(supervisor)
    try:
        _run(library, make_describer(settings), options, supervisor=owner, log_path=path)
    except EveryFrameError:
        raise  # a user error: restarting would not help
    except StorageError as error:  # nor would it here: what can be retried was retried
        log.critical("%s", error, extra=about(Action.DATABASE_FAILED))
        raise
    except Exception as error:
        log.critical("%s: %s", type(error).__name__, error, exc_info=error)
        raise typer.Exit(CRASHED) from error


def retry(
    video: Annotated[str | None, typer.Argument(metavar="VIDEO", help="Only this video.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only failures whose reason contains this text.")
    ] = None,
    frame: Annotated[int | None, typer.Option("--frame", help="Only this frame of VIDEO, by number.")] = None,
) -> None:
    """Retry failed frames and videos.

    Puts them back into the queue.

    Example: everyframe retry wedding --reason timeout
    """
    from db import store
    from db.engine import writing
    from db.queries import frame_of_index

    library = open_library()
    video_id = find_one_video(library, video).id if video else None
    if frame is not None and video_id is None:
        raise typer.BadParameter("pass the VIDEO that the frame belongs to", param_hint="--frame")
    with writing(library.engine) as connection:
        kept = frame_of_index(connection, video_id, frame) if video_id is not None and frame is not None else None
        if frame is not None and kept is None:
            raise SettingsError(f"no kept frame represents frame {frame}. List them with `everyframe show {video}`")
        count = store.retry(
            connection,
            video_id=video_id,
            reason=printable(reason) if reason else None,
            frame_id=kept.id if kept is not None else None,
        )
    say(
        f"Queued {format_count(count, 'failed item')} again. Continue with: everyframe enrich"
        if count
        else "Nothing to retry."
    )


def _say_plan(library: "Library", options: "RunOptions") -> None:
    from enrich.cli.estimate import planned

    text = planned(library, options.video_ids, seconds=options.within_seconds or math.inf)
    if text is not None:
        say(f"Plan:    {text}")
    elif options.within_seconds is not None:
        say("Plan:    shown with the progress, once the model has been timed")


def run_here(library: "Library", describer: "Describer | None", options: "RunOptions") -> "RunSummary":
    """Run a worker in this terminal and show its progress. Raises ModelError before it starts."""
    from enrich.cli.progress import watch

    return _run(library, describer, options, watch=watch)


def conclude(
    library: "Library",
    options: "RunOptions",
    summary: "RunSummary",
    *,
    describer: "Describer | None" = None,
    as_json: bool = False,
) -> None:
    """Print the summary of a run. Exits with 1 if anything failed, with 130 if it was interrupted."""
    from enrich.worker.run_options import RunEnd

    if as_json:
        print_json(summary)
    else:
        _say_summary(library, options, summary, describer)
    if summary.ending is RunEnd.STOPPED:
        raise typer.Exit(130)
    if not summary.is_good:
        raise typer.Exit(1)


def _say_summary(
    library: "Library", options: "RunOptions", summary: "RunSummary", describer: "Describer | None"
) -> None:
    from enrich.cli.estimate import reached
    from enrich.worker.run_options import RunEnd

    counts = summary.counts
    is_idle = not counts.videos_extracted and not counts.frames_described and summary.ending is RunEnd.FINISHED
    done = []
    if counts.videos_extracted or describer is None:
        done.append(f"{format_count(counts.videos_extracted, 'video')} extracted")
    if describer is not None:
        verb = "described" if describer.name != "baseline" else "measured by the baseline (not described by a model)"
        done.append(f"{format_count(counts.frames_described, 'frame')} {verb}")
    say(
        _nothing_to_do(library, options, summary, describer)
        if is_idle
        else f"{', '.join(done)} ({format_duration(summary.seconds)})."
    )
    if counts.warnings:
        flagged = format_count(counts.warnings, "description")
        say(f"{flagged} flagged with a warning. See them with: everyframe show VIDEO")
    _say_problems(library, options, summary, describer)
    match summary.ending:
        case RunEnd.STOPPED:
            say(f"Stopped. {_remaining(library, options, summary)} left. Continue with: everyframe enrich")
        case RunEnd.TIME_UP | RunEnd.LIMIT:
            if describer is not None and describer.is_model:
                gap = reached(library, options.video_ids)
                if gap is not None or (summary.is_good and not summary.left):
                    say(f"Described: {gap or 'every frame'}.")
            say(f"{_remaining(library, options, summary)} left. Continue with: everyframe enrich")
        case RunEnd.FINISHED:
            pass


def _say_problems(
    library: "Library", options: "RunOptions", summary: "RunSummary", describer: "Describer | None"
) -> None:
    """Print on stderr what needs the user's attention."""
    for title, reason in summary.waiting:
        print_error(f"{title} is waiting: {reason}")
    for title, readable in summary.damaged:
        print_error(f"{title} is {readable}. Copy it from the original again, remove it, then add the copy")
    if summary.failures:
        _say_failures(library, options, summary, describer)


def _nothing_to_do(
    library: "Library", options: "RunOptions", summary: "RunSummary", describer: "Describer | None"
) -> str:
    from db import queries
    from db.engine import reading

    with reading(library.engine) as connection:
        is_empty = not queries.videos(connection, options.video_ids)
    if is_empty:
        return "The library is empty. Add videos: everyframe add PATH"
    if not summary.is_good or (describer is not None and describer.name == "baseline"):
        return "Nothing to do."
    return "Everything is already extracted." if describer is None else "Everything is already described."


def _remaining(library: "Library", options: "RunOptions", summary: "RunSummary") -> str:
    """The remaining frames, and the videos that are not fully extracted, whose frames are not counted yet."""
    from db import queries
    from db.engine import reading

    with reading(library.engine) as connection:
        videos = len(queries.open_extractions(connection, options.video_ids))
    parts = [format_count(summary.left, "frame")] if summary.left else []
    if videos:
        parts.append(f"{format_count(videos, 'video')} to extract")
    return " and ".join(parts) or "Nothing"


def _say_failures(
    library: "Library", options: "RunOptions", summary: "RunSummary", describer: "Describer | None"
) -> None:
    """Print how many items failed, why, and what to do. Includes failures of earlier runs."""
    from db import queries
    from db.engine import reading
    from db.models import ExtractionStatus

    with reading(library.engine) as connection:
        videos = queries.videos(connection, options.video_ids)
        frames = queries.progress(connection, describer.target_pass if describer else "deep", options.video_ids)
    broken = sum(video.extraction_status is ExtractionStatus.FAILED for video in videos)
    failed = []
    if broken:
        failed.append(f"{broken:,} of {format_count(len(videos), 'video')}")
    if frames.failed:
        failed.append(f"{frames.failed:,} of {format_count(frames.left + frames.done + frames.failed, 'frame')}")
    print_error(f"{' and '.join(failed) or 'something'} failed. Retry with `everyframe retry`. Reasons:")
    for reason, count in summary.failures[:SHOWN_REASONS]:
        print_error(f"{count:,} × {one_line(reason, 300)}")
    if len(summary.failures) > SHOWN_REASONS:
        print_error(f"and {len(summary.failures) - SHOWN_REASONS} more reasons. See them with `everyframe show VIDEO`")


def _run(
    library: "Library",
    describer: "Describer | None",
    options: "RunOptions",
    *,
    watch: "Callable[[Worker, Library, RunOptions], Coroutine[None, None, None]] | None" = None,
    supervisor: "ProcessIdentity | None" = None,
    log_path: Path | None = None,
) -> "RunSummary":
    from enrich.describe.asking import host_problems
    from enrich.quick.batches import watch_batches
    from enrich.worker.worker import Worker

    async def main() -> "RunSummary":
        try:
            if describer is not None and supervisor is None:  # a supervised worker reports problems in its run instead
                for problem in await host_problems(describer):
                    print_error(str(problem))
            worker = Worker(
                library,
                describer,
                options,
                supervisor=supervisor,
                log_path=str(log_path) if log_path else None,
                side_tasks=[watch_batches],
            )
            _stop_on_signals(worker.stop)
            progress = asyncio.ensure_future(watch(worker, library, options)) if watch else None
            try:
                return await worker.run()
            finally:
                if progress is not None:
                    progress.cancel()
                    await asyncio.gather(progress, return_exceptions=True)
        finally:
            if describer is not None:
                await describer.close()

    return asyncio.run(main())


def _stop_on_signals(stop: Callable[[], None]) -> None:
    """Stop the worker at the first SIGINT or SIGTERM; a second one ends the process at once."""

    def handle(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), handle)
