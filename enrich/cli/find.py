"""Commands that read the library: show and search."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import AsJson, Video, find_one_video, open_library
from enrich.cli.output import STATUS_WORDS, print_json, print_table, say
from enrich.errors import SettingsError
from enrich.wording import format_count, format_timestamp, one_line, printable

if TYPE_CHECKING:
    from db.queries import FrameRow, VideoRow
    from enrich.library.library import Library

SHOWN_FRAMES = 50


def show(
    video: Video,
    frame: Annotated[int | None, typer.Option("--frame", min=0, help="A source frame by number, kept or not.")] = None,
    at: Annotated[float | None, typer.Option("--at", help="The frame at this time, in seconds.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Save the frame as a JPEG file.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of frames to list.")] = SHOWN_FRAMES,
    as_json: AsJson = False,
) -> None:
    """Show a video or one of its frames.

    For a source frame that was not kept, it shows the kept frame that represents it and how similar the two are.

    Example: everyframe show wedding --at 12.5 --save cake.jpg
    """
    from db import queries
    from db.engine import reading
    from enrich.library.completion import video_json

    if frame is not None and at is not None:
        raise typer.BadParameter("use either --frame or --at, not both")
    if save is not None and frame is None and at is None:
        raise typer.BadParameter("choose a frame with --frame or --at", param_hint="--save")
    library = open_library()
    row = find_one_video(library, video)
    if frame is not None or at is not None:
        _show_frame(library, row, index=frame, timestamp=at, save=save, as_json=as_json)
        return
    with reading(library.engine) as connection:
        frames = queries.frames(connection, row.id, limit=None if as_json else limit)
    if as_json:
        print_json({"video": video_json(row), "frames": [_frame_json(found) for found in frames]})
        return
    _say_video(row)
    for found in frames:
        _say_line(found)
    if row.kept > len(frames):
        say(f"… {row.kept - len(frames)} more frames: everyframe show {row.id} --limit {row.kept}")


def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD", help='Words, "phrases" or prefixes*.')],
    video: Annotated[str | None, typer.Option("--video", help="Search only this video.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Maximum number of results.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Search the descriptions.

    Your own texts rank first, then descriptions from the deep pass, then those from the quick pass.

    Example: everyframe search "red car" beach*
    """
    from db.engine import reading
    from db.search import search as find

    library = open_library()
    video_ids = [find_one_video(library, video).id] if video else None
    with reading(library.engine) as connection:
        found = find(connection, printable(" ".join(words)), limit=limit, video_ids=video_ids)
    if as_json:
        hits = [{**_hit_json(hit), "snippet": hit.marked("[", "]")} for hit in found.hits]
        print_json({"every_word": found.every_word, "hits": hits})
        return
    if not found.hits:
        say("No results.")
        return
    if not found.every_word:
        say("No frame matches all of these words. These match some:")
    columns = [("VIDEO", "left"), ("TIME", "right"), ("FRAME", "right"), ("SOURCE", "left"), ("MATCH", "left")]
    rows = [
        (hit.title, format_timestamp(hit.timestamp), hit.index, hit.source, hit.marked("[", "]")) for hit in found.hits
    ]
    print_table(columns, rows)


def _show_frame(
    library: "Library",
    video: "VideoRow",
    *,
    index: int | None,
    timestamp: float | None,
    save: Path | None,
    as_json: bool,
) -> None:
    from db import queries
    from db.engine import reading
    from enrich.library.source_frames import find_source_frame

    with reading(library.engine) as connection:
        if index is not None:
            kept = queries.frame_of_index(connection, video.id, index)
        else:
            kept = queries.frame_at(connection, video.id, timestamp or 0.0)
    found = find_source_frame(
        library.settings, video, kept, index=index, timestamp=timestamp, with_image=save is not None
    )
    if save is not None and found.jpeg is not None:
        try:
            save.write_bytes(found.jpeg)
        except OSError as error:
            raise SettingsError(f"cannot write {save}: {error.strerror}") from error
    if as_json:
        print_json(
            {
                "video_id": video.id,
                "index": found.index,
                "timestamp": found.timestamp,
                "is_kept": found.is_kept,
                "likeness": found.likeness,
                "stood_for_by": _frame_json(kept) if kept else None,
            }
        )
        return
    number = "?" if found.index is None else found.index
    say(f"{one_line(video.title)}, frame {number}, at {format_timestamp(found.timestamp)}")
    if kept is None:
        say("Not extracted yet. Run `everyframe extract` first.")
    elif kept.stands_for is None:
        say(
            "Only previewed so far; the nearest preview frame is shown. Run `everyframe extract` to extract all frames."
        )
    elif found.is_kept:
        say(f"kept; represents {format_count(kept.stands_for, 'frame')}")
    else:
        say(f"represented by frame {kept.index}, likeness {found.likeness:.2f}")
    if kept is not None:
        _say_frame(library, kept)
    if save is not None:
        say(f"saved: {save}")


def _say_video(row: "VideoRow") -> None:
    say(f"{one_line(row.title)} ({row.id})")
    for number, path in enumerate(_present_paths(row)):
        say(f"  {'also at ' if number else ''}{path}")
    rate = f"{row.fps:.3g} fps" if row.fps else "frame rate unknown"
    say(f"  {format_timestamp(row.duration)}, {row.width}×{row.height}, {row.codec}, {rate}, {row.sampling}")
    from enrich.library.completion import damage_of

    damage = damage_of(row)
    words = [STATUS_WORDS[status] for status in (row.extraction_status, row.enrichment_status)]
    if damage is not None:
        words.append(str(damage))
    say(f"  status: {', '.join(dict.fromkeys(words))}")  # not "waiting, waiting"
    say(
        f"  {'' if row.extraction_status == 'extracted' else 'about '}{row.frame_count or '?'} source frames, "
        f"{row.kept} kept, {row.described} described "
        f"(representing {row.covered}), {row.failed} failed, {row.decode_failures} could not be decoded"
    )
    for warning in row.warnings:
        say(f"  warning: {warning}")
    for label, value in (("context", row.context), ("camera", row.camera), ("error", row.error)):
        if value:
            say(f"  {label}: {value}")


def _present_paths(row: "VideoRow") -> list[str]:
    """The path that is used now, then the further locations where a file is."""
    from enrich.errors import VideoError
    from enrich.library.images import located

    try:
        used = located(row).path
    except VideoError:
        return [row.path]
    return [used, *(path for path in row.locations if path != used and Path(path).is_file())]


def _say_line(frame: "FrameRow") -> None:
    text = one_line(frame.description) or (f"not described: {frame.error}" if frame.error else "not described yet")
    warnings = _warnings(frame)
    place = "preview" if frame.index is None else f"frame {frame.index} (×{frame.stands_for})"
    say(f"{format_timestamp(frame.timestamp):>12}  {place}  {text}{warnings and f'  [{warnings}]'}")


def _say_frame(library: "Library", frame: "FrameRow") -> None:
    say(f"image: {library.frames_folder / frame.image_path}")
    for label, text, tags in (
        ("you", frame.edited_description, frame.edited_tags),
        ("deep", frame.local_description, frame.local_tags),
        ("quick", frame.quick_description, frame.quick_tags),
    ):
        if text:
            say(f"{label}: {text}")
        if tags:
            say(f"{label} tags: {', '.join(tags)}")
    if warnings := _warnings(frame):
        say(f"warnings: {warnings}")
    if frame.error:
        say(f"error: {frame.error}")


def _warnings(frame: "FrameRow") -> str:
    return ", ".join(
        f"{warning['problem']} ({warning['detail']})" if warning.get("detail") else warning["problem"]
        for warning in frame.warnings
    )


def _frame_json(frame: "FrameRow") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(frame), "description": frame.description, "tags": frame.tags}


def _hit_json(hit: object) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(hit)  # type: ignore[call-overload, no-any-return]  # it is a dataclass
