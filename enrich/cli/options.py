"""Options and arguments that commands share, and what they mean."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enrich.settings import Settings, load_settings

if TYPE_CHECKING:
    from db.queries import VideoRow
    from enrich.library.library import Library

AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Video = Annotated[str, typer.Argument(metavar="VIDEO", help="Its number, its path, or a unique part of its title.")]
Videos = Annotated[
    list[str] | None,
    typer.Argument(metavar="[VIDEO]...", help="Numbers, paths or unique parts of titles; all if none is given."),
]
DescriberName = Annotated[
    Literal["ollama", "baseline"] | None,
    typer.Option("--describer", help="What describes pictures.", show_default=False),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="The vision model, such as llava:13b.", show_default=False)
]
SamplingText = Annotated[
    str, typer.Option("--sampling", help="Which frames are kept: distinct, exact, every=2s, scenes.")
]
LikenessText = Annotated[
    Literal["strict", "normal", "loose"] | None,
    typer.Option("--likeness", help="For distinct: how alike frames that are left out must be.", show_default=False),
]


def settings_for(describer: str | None = None, model: str | None = None) -> Settings:
    """The settings, with what was said on the command line on top."""
    return load_settings(describer=describer, model=model)


def open_library(settings: Settings | None = None) -> "Library":
    """The library of the settings. Raises LibraryError."""
    from enrich.library.library import Library

    return Library.open(settings or load_settings())


def find_one_video(library: "Library", wanted: str) -> "VideoRow":
    """The video meant by what was typed. Raises VideoError."""
    from db import queries
    from db.engine import reading
    from enrich.errors import VideoError

    with reading(library.engine) as connection:
        try:
            return queries.find_video(connection, wanted, path=os.path.abspath(wanted))  # noqa: PTH100
        except queries.NoSuchVideoError as error:
            raise VideoError(str(error)) from error


def find_videos(library: "Library", wanted: Iterable[str] | None) -> frozenset[int] | None:
    """The ids of the videos meant; None, which is all, if none was named."""
    names = list(wanted or ())
    return frozenset(find_one_video(library, name).id for name in names) if names else None
