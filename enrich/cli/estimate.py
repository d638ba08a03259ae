"""The commands that look ahead, estimate and plan, and the time limits --within and --by that other commands share.

An estimate covers videos that need not be in the library yet: frames, time and disk space. A plan covers the library:
how densely frames will be described by a given time, and when all of them will be done.
"""

import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import (
    AsJson,
    DescriberName,
    LikenessText,
    ModelName,
    SamplingText,
    Videos,
    chosen_sampling,
    find_videos,
    open_library,
    settings_for,
)
from enrich.cli.output import print_error, print_json, say
from enrich.clock import end_after, end_by, parse_hours
from enrich.wording import format_bytes, format_count, format_duration, format_finish_time

if TYPE_CHECKING:
    from enrich.library.library import Library
    from enrich.schedule.forecast import RunPlan
    from enrich.video.probe import VideoFacts
    from enrich.video.sampling import Sampling

WHOLE_SECONDS_FROM = 10  # shorter gaps are shown with tenths of a second
ROUNDING = 1e-6  # absorbs floating-point noise before rounding up
UNMEASURED = "{model} has not been timed on this computer yet: describe a few frames first"
Within = Annotated[
    str | None, typer.Option("--within", metavar="DURATION", help="Time limit, such as 8h, 30m or 1h30m.")
]
By = Annotated[str | None, typer.Option("--by", metavar="TIME", help="Stop at this time, such as 07:00.")]


def planned(
    library: "Library", video_ids: Collection[int] | None, *, seconds: float, keeps_hours: bool = False
) -> str | None:
    """What a run of this many seconds will achieve, in words; None if the model has not been timed yet.

    `keeps_hours`: whether the run works in the working hours only.
    """
    found = _plan(library, video_ids, seconds=seconds, keeps_hours=keeps_hours, now=datetime.now(UTC))
    return plan_text(found, datetime.now(UTC)) if found is not None and found.left else None


def _plan(
    library: "Library", video_ids: Collection[int] | None, *, seconds: float, keeps_hours: bool, now: datetime
) -> "RunPlan | None":
    from db.engine import reading
    from enrich.schedule.forecast import plan_run

    hours = parse_hours(library.settings.hours if keeps_hours else "")
    with reading(library.engine) as connection:
        return plan_run(connection, library.settings, video_ids, seconds=seconds, now=now, hours=hours)


def plan_text(found: "RunPlan", now: datetime) -> str:
    """A plan in words: one frame every 6 s by 07:00, all 12,345 frames by Thursday 14:00."""
    whole = f"all {found.left:,} frames {_finish(found.total_seconds, now)}"
    within = f" (within working hours {found.hours})" if found.hours else ""
    if found.gap is None:
        return f"{whole}{within}"
    return f"one frame every {gap_text(found.gap)} by {format_finish_time(found.seconds, now)}, {whole}{within}"


def _finish(seconds: float | None, now: datetime) -> str:
    return "later than can be forecast" if seconds is None else f"by {format_finish_time(seconds, now)}"


def reached(library: "Library", video_ids: Collection[int] | None) -> str | None:
    """How densely the videos are described now, in words; None if every frame is described."""
    from db.engine import reading
    from enrich.schedule.forecast import current_gap

    with reading(library.engine) as connection:
        gap = current_gap(connection, video_ids)
    return None if gap is None else f"one frame at least every {gap_text(gap)}"


def gap_text(seconds: float) -> str:
    """The length of a gap, rounded up: 2.4 s, 1 min 20 s."""
    if seconds >= WHOLE_SECONDS_FROM:
        return format_duration(math.ceil(seconds))
    return f"{math.ceil(seconds * 10 - ROUNDING) / 10:g} s"


def estimate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Video files or folders.")],
    sampling: SamplingText = "distinct",
    likeness: LikenessText = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Estimate frames, time and disk space without adding.

    The time is based on the measured speed of the model on this computer.

    Example: everyframe estimate ~/Videos --sampling every=2s
    """
    from enrich.errors import VideoError
    from enrich.filenames import is_media_name
    from enrich.library.adding import walk
    from enrich.library.probe_process import ProbeProcess

    settings = settings_for(describer, model)
    chosen = chosen_sampling(sampling, likeness or settings.likeness)
    library = open_library(settings)
    facts, failed, problems = [], False, []
    with ProbeProcess() as prober:
        for path, was_named in walk(paths):
            if not was_named and not is_media_name(path):
                continue
            try:
                facts.append(prober.probe(path))
            except VideoError as error:
                print_error(str(error))
                problems.append({"path": str(path), "error": str(error)})
                failed = failed or was_named
    say_estimate(library, chosen, facts, problems=problems, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def say_estimate(
    library: "Library",
    sampling: "Sampling",
    facts: "Sequence[VideoFacts]",
    *,
    problems: "Sequence[dict[str, str]]" = (),
    as_json: bool = False,
) -> None:
    """Print the estimate for these videos; `problems` are the files that cannot be read."""
    from db.engine import reading
    from enrich.library.images import free_bytes
    from enrich.schedule.forecast import Footage, estimate

    now = datetime.now(UTC)
    footage = [Footage(video.duration, video.frame_estimate, video.width, video.height) for video in facts]
    settings = library.settings
    with reading(library.engine) as connection:
        ahead = estimate(connection, settings, footage, sampling, now=now)
    model = settings.model if settings.describer == "ollama" else settings.describer
    room = free_bytes(settings)
    if as_json:
        print_json(
            {
                "videos": len(facts),
                "duration": sum(video.duration or 0.0 for video in facts),
                "sampling": str(sampling),
                "describer": settings.describer,
                "model": model,
                "source_frames": ahead.source_frames,
                "kept_frames": ahead.kept_frames,
                "is_learnt": ahead.is_measured,
                "seconds": ahead.seconds,
                "elapsed_seconds": ahead.elapsed_seconds,
                "hours": settings.hours or None,
                "disk_bytes": ahead.disk_bytes,
                "free_bytes": max(0, room),
                "files": [_file_json(video) for video in facts],
                "failed": list(problems),
            }
        )
        return
    guess = "" if ahead.is_measured else ", rough estimate"
    kept = f"about {ahead.kept_frames:,} to describe ({sampling}{guess})"
    say(f"Frames:  {ahead.source_frames:,} in {format_count(len(facts), 'video')}, {kept}")
    within = ""
    if ahead.seconds is not None and settings.hours:
        within = f"; within working hours {settings.hours}: {_finish(ahead.elapsed_seconds, now)}"
    say(f"Time:    {format_duration(ahead.seconds)} with {model} on this computer{within}")
    short = f"; only {format_bytes(max(0, room))} available" if ahead.disk_bytes > room else ""
    say(f"Disk:    about {format_bytes(ahead.disk_bytes)} for images{short}")


def _file_json(facts: "VideoFacts") -> dict[str, object]:
    return {
        "path": str(facts.path),
        "title": facts.title,
        "duration": facts.duration,
        "width": facts.width,
        "height": facts.height,
        "frame_count": facts.frame_estimate,
        "warnings": list(facts.warnings),
    }


def end_of(within: str | None, by: str | None, now: datetime) -> datetime | None:
    """The deadline from --within or --by; None without one. Raises BadParameter for an invalid time."""
    if within is not None and by is not None:
        raise typer.BadParameter("use either --within or --by, not both")
    try:
        if within is not None:
            return end_after(within, now)
        return end_by(by, now) if by is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--by" if within is None else "--within") from error


def plan(
    videos: Videos = None,
    within: Within = None,
    by: By = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a time-limited run will get.

    Shows how densely the videos will be described by then, and when every frame will be done, if the worker keeps the
    working hours (`everyframe start`). Nothing is started.

    Example: everyframe plan --by 07:00
    """
    from db import queries
    from db.engine import reading

    now = datetime.now(UTC)
    end = end_of(within, by, now)
    library = open_library(settings_for(describer, model))
    chosen = find_videos(library, videos)
    seconds = math.inf if end is None else (end - now).total_seconds()
    found = _plan(library, chosen, seconds=seconds, keeps_hours=True, now=now)
    with reading(library.engine) as connection:
        has_failures = bool(queries.failures(connection, chosen))
    settings = library.settings
    reason = None
    if found is None:
        reason = UNMEASURED.format(model=settings.model if settings.describer == "ollama" else settings.describer)
    elif not found.left:
        reason = "nothing is left to describe" if has_failures else "everything is already described"
    text = plan_text(found, now) if found is not None and found.left else None
    if not as_json:
        say(f"Plan:    {text or reason}")
        return
    print_json(
        {
            "seconds": None if end is None else seconds,
            "until": end,
            "calls": found.calls if found else None,
            "left": found.left if found else None,
            "gap_seconds": found.gap if found else None,
            "all_seconds": found.total_seconds if found else None,
            "hours": settings.hours or None,
            "text": text,
            "reason": reason,
        }
    )
