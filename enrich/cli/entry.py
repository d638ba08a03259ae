"""Commands that change a video's entry in the library: set, relink, remove. The film itself is never touched."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from enrich.cli.options import AsJson, Video, find_one_video, open_library
from enrich.cli.output import print_json, say
from enrich.errors import SettingsError
from enrich.wording import counted, first_line, printable

LONGEST_TITLE = 300  # characters


def change(
    video: Video,
    context: Annotated[
        str | None, typer.Option("--context", help='What the film is about; "" takes it out.', show_default=False)
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="What it is called.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Change a video's title, or its context.

    Frames that are described from now on are described with it; the file keeps its name.
    """
    from db import queries
    from db.editing import rename_video, set_context
    from db.engine import reading, writing

    if context is None and title is None:
        raise typer.BadParameter("say what to set: --context TEXT or --title TEXT")
    name = None if title is None else printable(" ".join(title.split()))
    if name is not None and not 0 < len(name) <= LONGEST_TITLE:
        raise typer.BadParameter(f"write a title of 1 to {LONGEST_TITLE} characters", param_hint="--title")
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
    say(f"{row.id} {first_line(row.title)}: {first_line(row.context) or 'no context'}")


def relink(
    video: Video,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Where the film lies now.")],
    as_json: AsJson = False,
) -> None:
    """Say where a moved film lies now.

    It must be the same film: another one is refused.
    """
    from enrich.library.adding import relink as find_again

    library = open_library()
    row = find_again(library, find_one_video(library, video), path)
    if as_json:
        print_json({"id": row.id, "title": row.title, "path": row.path})
        return
    say(f"{first_line(row.title)} is read from {row.path} from now on.")


def remove(
    video: Video,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a video; your own file stays.

    Its pictures and descriptions are deleted. The file you added is never touched.
    """
    from db.engine import writing
    from db.store import remove_video
    from enrich.library.images import remove_images

    library = open_library()
    row = find_one_video(library, video)
    what = f"{row.title}: {counted(row.kept, 'picture')} and {counted(row.described, 'description')}"
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise SettingsError(f"{what} would be deleted (the film itself never is): say --yes to do it")
        typer.confirm(f"Delete {what}? The film itself is not touched.", abort=True)
    with writing(library.engine) as connection:
        remove_video(connection, row.id)
    remove_images(library.settings, row)
    if as_json:
        print_json({"id": row.id, "title": row.title, "path": row.path, "kept": row.kept, "described": row.described})
        return
    say(f"Removed {what}. {row.path} is untouched.")
