"""Commands that change a video's entry in the library: set, relink, remove. They never change the video file."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from enrich.cli.options import AsJson, Video, find_one_video, open_library
from enrich.cli.output import confirm, print_error, print_json, say
from enrich.errors import SettingsError
from enrich.wording import format_count, format_usd, one_line, printable

MAX_TITLE_CHARACTERS = 300


def change(
    video: Video,
    context: Annotated[
        str | None,
        typer.Option(
            "--context", help='What the video is about; "" removes it. Prompts include it.', show_default=False
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="New title.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Change the title or context of a video.

    Frames described from now on use the new context. The file keeps its name.

    Example: everyframe set 3 --context "wedding of Anna and Ben"
    """
    from db import queries
    from db.editing import rename_video, set_context
    from db.engine import reading, writing

    if context is None and title is None:
        raise typer.BadParameter("nothing to change: pass --context TEXT or --title TEXT")
    name = None if title is None else printable(" ".join(title.split()))
    if name is not None and not 0 < len(name) <= MAX_TITLE_CHARACTERS:
        raise typer.BadParameter(f"a title must have 1 to {MAX_TITLE_CHARACTERS} characters", param_hint="--title")
    library = open_library()
    row = find_one_video(library, video)
    with writing(library.engine) as connection:
        if context is not None:
            set_context(connection, row.id, printable(context.strip()))
        if name is not None:
            rename_video(connection, row.id, name)
    with reading(library.engine) as connection:
        row = queries.video(connection, row.id)
    if as_json:
        print_json({"id": row.id, "title": row.title, "context": row.context})
        return
    say(f"{row.id} {one_line(row.title)}: {one_line(row.context) or 'no context'}")


def relink(
    video: Video,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The new location of the video file.")],
    as_json: AsJson = False,
) -> None:
    """Point a video to its new location.

    Only the same video is accepted; a different file is refused.

    Example: everyframe relink wedding /mnt/archive/wedding.mp4
    """
    from enrich.library.adding import relink as relink_video

    library = open_library()
    row = relink_video(library, find_one_video(library, video), path)
    if as_json:
        print_json({"id": row.id, "title": row.title, "path": row.path})
        return
    say(f"{one_line(row.title)} is now at {row.path}.")


def remove(
    video: Video,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a video from the library.

    Deletes its stored images and descriptions. The video file itself is never changed. Batches under way are cancelled;
    what Claude has processed by then is charged, and stays in `everyframe costs`.
    """
    from db.engine import reading, writing
    from db.reservations import open_usd_of_video
    from db.store import remove_video
    from enrich.library.images import remove_images
    from enrich.quick.batches import cancel_orphans

    library = open_library()
    row = find_one_video(library, video)
    deleted = f"{row.title}: {format_count(row.kept, 'image')} and {format_count(row.described, 'description')}"
    what = deleted
    with reading(library.engine) as connection:
        owed_usd = open_usd_of_video(connection, row.id)
    if owed_usd:
        what += f", and requests to Claude under way for up to {format_usd(owed_usd)}"
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise SettingsError(f"pass --yes to delete {what}. The video file is kept")
        confirm(f"Delete {what}? The video file is kept.")
    with writing(library.engine) as connection:
        remove_video(connection, row.id)
    remove_images(library, row)
    waiting_for = asyncio.run(cancel_orphans(library)) if owed_usd else []
    for reason in waiting_for:
        print_error(
            f"a batch is not cancelled yet: {reason}. The worker or `everyframe quick --collect` records its cost"
        )
    if as_json:
        print_json({"id": row.id, "title": row.title, "path": row.path, "kept": row.kept, "described": row.described})
        return
    say(f"Removed {deleted}. The file {row.path} is unchanged.")
