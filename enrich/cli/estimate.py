"""The command that looks ahead: what videos would take. Adding them says it too."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, DescriberName, LikenessText, ModelName, SamplingText, open_library, settings_for
from enrich.cli.output import complain, print_json, say
from enrich.wording import counted, size, span

if TYPE_CHECKING:
    from enrich.library.library import Library
    from enrich.video.probe import VideoFacts
    from enrich.video.sampling import Sampling


def estimate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files or folders; nothing is added.")],
    sampling: SamplingText = "distinct",
    likeness: LikenessText = None,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Say what videos would take.

    How many frames, how much time with this model on this machine, and how much disk; nothing is added.
    """
    from enrich.cli.videos import chosen_sampling
    from enrich.errors import VideoError
    from enrich.filenames import is_media_name
    from enrich.library.adding import walk
    from enrich.video.probe import probe

    settings = settings_for(describer, model)
    chosen = chosen_sampling(sampling, likeness or settings.likeness)
    library = open_library(settings)
    facts, failed, troubles = [], False, []
    for path, was_named in walk(paths):
        if not was_named and not is_media_name(path):
            continue
        try:
            facts.append(probe(path))
        except VideoError as error:
            complain(str(error))
            troubles.append({"path": str(path), "error": str(error)})
            failed = failed or was_named
    say_estimate(library, chosen, facts, troubles=troubles, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def say_estimate(
    library: "Library",
    sampling: "Sampling",
    facts: "Sequence[VideoFacts]",
    *,
    troubles: "Sequence[dict[str, str]]" = (),
    as_json: bool = False,
) -> None:
    """Print what these videos will take; `troubles` are the files that are none."""
    from db.engine import reading
    from enrich.schedule.forecast import Footage, estimate
    from enrich.work.trouble import free_room

    footage = [Footage(video.duration, video.frame_estimate, video.width, video.height) for video in facts]
    settings = library.settings
    with reading(library.engine) as connection:
        ahead = estimate(connection, settings, footage, sampling)
    model = settings.model if settings.describer == "ollama" else settings.describer
    room = free_room(settings)
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
                "is_learnt": ahead.is_learnt,
                "seconds": ahead.seconds,
                "disk_bytes": ahead.disk_bytes,
                "free_bytes": max(0, room),
                "files": [_file_json(video) for video in facts],
                "failed": list(troubles),
            }
        )
        return
    how = "" if ahead.is_learnt else ", a first guess"
    kept = f"about {ahead.kept_frames:,} to describe ({sampling}{how})"
    say(f"Frames:  {ahead.source_frames:,} in {counted(len(facts), 'video')}, {kept}")
    say(f"Time:    {span(ahead.seconds)} with {model} here")
    short = f"; only {size(max(0, room))} are free beside the reserve" if ahead.disk_bytes > room else ""
    say(f"Disk:    about {size(ahead.disk_bytes)} for the pictures{short}")


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
