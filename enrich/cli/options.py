"""Options and arguments that several commands share, and how to resolve them."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from enrich.settings import DeepDescriberName, Settings, load_settings

if TYPE_CHECKING:
    from db.queries import VideoRow
    from enrich.library.library import Library
    from enrich.video.sampling import Sampling

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Video = Annotated[str, typer.Argument(metavar="VIDEO", help="Video id, path, or a unique part of the title.")]
Videos = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIDEO", help="Video ids, paths, or unique parts of titles. Default: all videos."),
]
DescriberName = Annotated[
    DeepDescriberName | None,
    typer.Option(
        "--describer", help="What describes frames. baseline needs no model and only measures.", show_default=False
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Vision model, such as llava:13b.", show_default=False)
]
SamplingText = Annotated[
    str, typer.Option("--sampling", metavar="MODE", help="Which frames to keep: distinct, exact, every=2s or scenes.")
]
LikenessText = Annotated[
    Literal["strict", "normal", "loose"] | None,
    typer.Option(
        "--likeness",
        help="With --sampling distinct: how similar a frame must be to the previous one to be skipped.",
        show_default=False,
    ),
]


def settings_for(describer: str | None = None, model: str | None = None) -> Settings:
    """The settings, overridden by the command line."""
    return load_settings(describer=describer, model=model)


def open_library(settings: Settings | None = None) -> "Library":
    """The library that the settings point to. Raises LibraryError."""
    from enrich.library.library import Library

    return Library.open(settings or load_settings())


def find_one_video(library: "Library", wanted: str) -> "VideoRow":
    """The video that the user named. Raises VideoError."""
    from db import files, queries
    from db.engine import reading
    from enrich.errors import VideoError

    with reading(library.engine) as connection:
        try:
            return files.find_video(connection, wanted, path=os.path.abspath(wanted))  # noqa: PTH100
        except queries.NoSuchVideoError as error:
            raise VideoError(str(error)) from error


def find_videos(library: "Library", wanted: Iterable[str] | None) -> frozenset[int] | None:
    """The ids of the videos that the user named; None, which means all, if there are none."""
    names = list(wanted or ())
    return frozenset(find_one_video(library, name).id for name in names) if names else None


def chosen_sampling(text: str, likeness: str) -> "Sampling":
    """The sampling that the user typed. Raises BadParameter if it is invalid."""
    from enrich.video.sampling import parse_sampling

    try:
        return parse_sampling(text, likeness)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--sampling") from error
