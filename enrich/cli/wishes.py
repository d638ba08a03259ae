"""The command that puts what somebody wants to see before the even order: first."""

import re
from typing import Annotated

import typer

from enrich.cli.options import AsJson, Video, meant, open_library
from enrich.cli.output import print_json, say
from enrich.wording import clock, counted

TIMES = "Seconds, 12:30 or 1:02:03."


def first(
    video: Video,
    start: Annotated[str | None, typer.Option("--from", metavar="TIME", help=TIMES)] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help=TIMES)] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a video, or a part of it, before all others.

    A worker that runs takes it up at once. Every fourth frame or so still goes to the rest of the library.
    """
    from db.engine import writing
    from db.wishes import Wish, prefer
    from enrich.schedule.coverage import WISH_PRIORITY

    library = open_library()
    row = meant(library, video)
    since, until = _seconds(start, "--from"), _seconds(end, "--to")
    with writing(library.engine) as connection:
        count = prefer(connection, row.id, Wish(since, until), priority=WISH_PRIORITY)
    part = "" if since is None and until is None else f" from {clock(since or 0.0)} to {clock(until or row.duration)}"
    is_decoded = row.extraction_status in ("extracted", "failed")
    if as_json:
        print_json({"id": row.id, "frames": count, "is_decoded": is_decoded})
        return
    coming = "" if is_decoded else "; it is decoded before the others, and what comes of it goes first"
    say(f"{counted(count, 'frame')} of {row.title}{part} will be described first{coming}.")


def _seconds(text: str | None, option: str) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text.strip()):
        raise typer.BadParameter(f"{text!r} is no time: write seconds, 12:30 or 1:02:03", param_hint=option)
    seconds = 0.0
    for part in text.strip().split(":"):
        seconds = 60 * seconds + float(part)
    return seconds
