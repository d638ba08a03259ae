"""Commands for single frames and parts of a video: strip, describe and first."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, ModelName, Video, find_one_video, open_library, settings_for
from enrich.cli.output import print_json, say
from enrich.errors import SettingsError
from enrich.wording import format_count, format_duration, format_timestamp, one_line, printable

if TYPE_CHECKING:
    from db.queries import FrameRow, VideoRow
    from enrich.library.library import Library

MAX_NEIGHBOURS = 200  # source frames on each side of a strip


def strip(
    video: Video,
    frame: Annotated[int, typer.Option("--frame", min=0, help="Number of the source frame in the middle.")],
    before: Annotated[int, typer.Option("--before", min=0, max=MAX_NEIGHBOURS, help="Frames before it.")] = 12,
    after: Annotated[int, typer.Option("--after", min=0, max=MAX_NEIGHBOURS, help="Frames after it.")] = 12,
    as_json: AsJson = False,
) -> None:
    """Save the frames around a given frame as images.

    Saves every source frame in the range, kept or not. Old strips are deleted automatically.

    Example: everyframe strip wedding --frame 1200 --before 5 --after 5
    """
    from enrich.library.media import strip_folder
    from enrich.library.source_frames import make_strip

    library = open_library()
    row = find_one_video(library, video)
    found = make_strip(library, row, max(0, frame - before), frame + after)
    folder = strip_folder(library.settings, row.id)
    if as_json:
        print_json({"video_id": row.id, "folder": folder, "frames": found})
        return
    for one in found:
        likeness = "" if one.likeness is None else f"  likeness {one.likeness:.2f}"
        say(f"{format_timestamp(one.timestamp):>12}  frame {one.index}{likeness}  {folder / f'{one.index}.jpg'}")


def describe(
    video: Video,
    frame_id: Annotated[int | None, typer.Option("--id", help="The id of a kept frame.")] = None,
    frame: Annotated[
        int | None, typer.Option("--frame", min=0, help="The kept frame that represents this source frame.")
    ] = None,
    model: ModelName = None,
    request: Annotated[str, typer.Option("--ask", help="An additional instruction or question for the model.")] = "",
    as_json: AsJson = False,
) -> None:
    """Re-describe one frame.

    Optionally with another model or an additional instruction. Your own texts are kept. Works while the worker is
    running.

    Example: everyframe describe wedding --frame 1200 --ask "What does the sign say?"
    """
    import asyncio

    from enrich.describe.registry import make_describer
    from enrich.library.redescribe import redescribe

    if (frame_id is None) == (frame is None):
        raise typer.BadParameter("choose a frame with either --id ID or --frame N")
    settings = settings_for("ollama" if model else None, model)
    library = open_library(settings)
    row = find_one_video(library, video)
    kept = _kept(library, row, frame_id=frame_id, index=frame)
    described = asyncio.run(
        redescribe(library, make_describer(settings), row, kept, request=printable(request.strip()))
    )
    if as_json:
        print_json(described)
        return
    seconds = format_duration(described.seconds)
    say(f"{one_line(row.title)} at {format_timestamp(kept.timestamp)}, {described.model}, {seconds}:")
    say(described.text)
    if described.tags:
        say(f"tags: {', '.join(described.tags)}")
    if described.warnings:
        problems = [one["problem"] for one in described.warnings]
        say(f"{format_count(len(problems), 'warning')}: {', '.join(problems)}")


def _kept(library: "Library", video: "VideoRow", *, frame_id: int | None, index: int | None) -> "FrameRow":
    from db import queries
    from db.engine import reading

    with reading(library.engine) as connection:
        if frame_id is not None:
            found = queries.frame(connection, frame_id)
        else:
            found = queries.frame_of_index(connection, video.id, index or 0)
    if found is None or found.video_id != video.id:
        which = f"has the id {frame_id}" if frame_id is not None else f"represents frame {index}"
        raise SettingsError(
            f"no kept frame of {one_line(video.title)} {which}. List them with `everyframe show {video.id}`"
        )
    return found


def first(
    video: Video,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Start: seconds, 12:30 or 1:02:03.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="End: seconds, 12:30 or 1:02:03.")] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a video, or part of it, before all others.

    A running worker switches to it at once. About every fourth frame still comes from the rest of the library.

    Example: everyframe first wedding --from 12:30 --to 15:00
    """
    from db.editing import PriorityRange, prioritize
    from db.engine import writing

    library = open_library()
    row = find_one_video(library, video)
    since, until = _seconds(start, "--from"), _seconds(end, "--to")
    with writing(library.engine) as connection:
        count = prioritize(connection, row.id, PriorityRange(since, until))
    part = (
        ""
        if since is None and until is None
        else f" from {format_timestamp(since or 0.0)} to {format_timestamp(until or row.duration)}"
    )
    is_decoded = row.extraction_status in ("extracted", "failed")
    if as_json:
        print_json({"id": row.id, "frames": count, "is_decoded": is_decoded})
        return
    if is_decoded:
        say(f"{format_count(count, 'frame')} of {row.title}{part} will be described next.")
    else:
        say(f"{row.title}{part}: its frames will be extracted and described next.")


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text.strip()):
        raise typer.BadParameter(f"{text!r} is not a valid time: write seconds, 12:30 or 1:02:03", param_hint=option)
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
