"""Commands for the videos of the library: add, list, export."""

import csv
import io
import os
import sys
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import (
    AsJson,
    LikenessText,
    Video,
    chosen_sampling,
    find_one_video,
    open_library,
    settings_for,
)
from enrich.cli.output import STATUS_WORDS, as_json_text, print_error, print_json, print_json_line, print_table, say
from enrich.errors import SettingsError
from enrich.wording import format_count, format_duration, format_timestamp, one_line, printable, spreadsheet_text

if TYPE_CHECKING:
    from db.queries import FrameRow, VideoRow
    from enrich.library.adding import Addition
    from enrich.video.sampling import Sampling


DEFAULT_SAMPLING = "distinct"
MAX_SKIPPED_LINES = 3  # per reason
FIRST_COLUMNS = ("index", "timestamp", "stands_for", "scene", "description", "tags")


class ExportFormat(StrEnum):
    CSV = "csv"
    JSON = "json"


def add(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Video files or folders.")],
    sampling: Annotated[
        str | None,
        typer.Option(
            "--sampling",
            metavar="MODE",
            help="Which frames to keep: distinct, exact, every=2s or scenes. Default: distinct.",
            show_default=False,
        ),
    ] = None,
    likeness: LikenessText = None,
    context: Annotated[
        str,
        typer.Option(
            "--context", metavar="TEXT", help="What the video is about. Prompts include it.", show_default=False
        ),
    ] = "",
    titles: Annotated[
        list[str] | None,
        typer.Option("--title", help="Title; one per PATH in the same order, empty to use the file name."),
    ] = None,
    in_lines: Annotated[
        bool, typer.Option("--lines", help="With --json: first the number of files, then one line per file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add videos or folders to the library.

    Files are never modified. Also estimates frames, time and disk space.

    Example: everyframe add ~/Videos --context "summer trip to Italy"
    """
    from enrich.library.adding import PathOutcome, add_paths, find_paths
    from enrich.logs import log_path, log_to_file

    settings = settings_for()
    chosen = chosen_sampling(sampling or DEFAULT_SAMPLING, likeness or settings.likeness)
    library = open_library(settings)
    log_to_file(log_path(settings, "add"))
    additions = []
    titles_by_path = _titles(paths, titles or [])
    if as_json and in_lines:
        print_json_line({"total": sum(1 for _ in find_paths(paths))})
    for addition in add_paths(
        library,
        paths,
        sampling=chosen,
        context=printable(context),
        titles=titles_by_path,
        is_sampling_chosen=sampling is not None or likeness is not None,
    ):
        additions.append(addition)
        if addition.outcome is PathOutcome.FAILED:
            print_error(addition.error or f"cannot add {addition.path}")
        elif not as_json:
            _say_addition(addition)
        if as_json and in_lines:
            print_json_line(_addition(addition))
    if as_json and not in_lines:
        print_json([_addition(addition) for addition in additions])
    elif not as_json:
        _say_skipped(additions)
        if all(addition.outcome is PathOutcome.SKIPPED for addition in additions):
            say("No videos found.")
        else:
            _say_estimate(library, chosen, additions)
    if any(addition.outcome is PathOutcome.FAILED and addition.was_named for addition in additions):
        raise typer.Exit(1)


def list_videos(as_json: AsJson = False) -> None:
    """List all videos with their progress."""
    from db import queries
    from db.engine import reading
    from enrich.library.completion import damage_of, video_json

    library = open_library()
    with reading(library.engine) as connection:
        rows = queries.videos(connection)
    if as_json:
        print_json([video_json(row) for row in rows])
        return
    if not rows:
        say(f"The library in {library.settings.home} is empty. Add videos or folders: everyframe add PATH")
        return
    columns = [("ID", "right"), ("TITLE", "left"), ("LENGTH", "right"), ("FRAMES", "right"), ("KEPT", "right")]
    columns += [("DESCRIBED", "right"), ("COVERED", "right"), ("FAILED", "right"), ("STATUS", "left")]
    print_table(columns, _list_rows(rows))
    for row in rows:
        for path in row.locations:
            if path != row.path and Path(path).is_file():
                say(f"{row.id} {row.title}: also at {path}")
        for warning in row.warnings:
            say(f"{row.id} {row.title}: {warning}")
        if row.error:
            say(f"{row.id} {row.title}: {row.error}")
        if damage := damage_of(row):
            say(f"{row.id} {row.title}: {damage}")


def export(
    video: Video,
    format_: Annotated[ExportFormat, typer.Option("--format", help="Output format.")] = ExportFormat.CSV,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Output file. Default: stdout.")] = None,
) -> None:
    """Export the descriptions of a video as CSV or JSON.

    Writes one row per kept frame. Your own texts take precedence over the model's.

    Example: everyframe export wedding --format json -o wedding.json
    """
    from db import queries
    from db.engine import reading
    from enrich.library.completion import video_json

    library = open_library()
    row = find_one_video(library, video)
    with reading(library.engine) as connection:
        frames = queries.frames(connection, row.id)
    if format_ is ExportFormat.JSON:
        text = as_json_text({"video": video_json(row), "frames": [_exported(frame) for frame in frames]}) + "\n"
    else:
        text = _csv(frames)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error.strerror}") from error
    say(f"Wrote {format_count(len(frames), 'frame')} of {row.title} to {output}")


def _titles(paths: list[Path], titles: list[str]) -> dict[Path, str]:
    """The titles from the command line, by absolute path."""
    if titles and len(titles) != len(paths):
        raise typer.BadParameter("pass one title for each PATH", param_hint="--title")
    given = {Path(os.path.abspath(path)): " ".join(title.split()) for path, title in zip(paths, titles, strict=False)}  # noqa: PTH100
    return {path: printable(title) for path, title in given.items() if title}


def _csv(frames: "list[FrameRow]") -> str:
    from db.queries import FrameRow

    others = [field.name for field in fields(FrameRow) if field.name not in FIRST_COLUMNS]
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, [*FIRST_COLUMNS, *others], lineterminator="\n")
    writer.writeheader()
    for frame in frames:
        writer.writerow({key: _cell(value) for key, value in _exported(frame).items()})
    return target.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = "; ".join(str(entry["problem"]) if isinstance(entry, dict) else str(entry) for entry in value)
    if isinstance(value, str):
        return spreadsheet_text(value)
    return value.isoformat() if hasattr(value, "isoformat") else value


def _exported(frame: "FrameRow") -> dict[str, object]:
    every = {**asdict(frame), "description": frame.description, "tags": frame.tags}
    return {**{key: every[key] for key in FIRST_COLUMNS}, **every}


def _addition(addition: "Addition") -> dict[str, object]:
    facts = addition.facts
    return {
        "path": str(addition.path),
        "outcome": addition.outcome,
        "was_named": addition.was_named,
        "video_id": addition.video_id,
        "error": addition.error,
        "note": addition.note,
        "title": addition.title or (facts.title if facts else None),
        "frame_count": facts.frame_estimate if facts else None,
        "duration": facts.duration if facts else None,
        "warnings": list(facts.warnings) if facts else [],
    }


def _say_addition(addition: "Addition") -> None:
    from enrich.library.adding import PathOutcome

    facts = addition.facts
    match addition.outcome:
        case PathOutcome.SKIPPED | PathOutcome.FAILED:  # printed later as a group, and on stderr
            return
        case PathOutcome.ADDED | PathOutcome.KNOWN | PathOutcome.MOVED:
            if facts is None:
                return
            other = "" if addition.title in (None, facts.title) else f"as {one_line(addition.title)}"
            known = f"already in the library {other}".strip()
            notes = {"added": [other] if other else [], "known": [known], "moved": ["path updated"]}[addition.outcome]
            note = "; ".join([*notes, addition.note] if addition.note else notes)
            length = format_duration(facts.duration) if facts.duration else "length unknown"
            details = f"{length}, {facts.width}×{facts.height}"
            say(f"{addition.outcome:<8} {addition.video_id} {one_line(facts.title)}: {details}{note and f' ({note})'}")
            for warning in facts.warnings:
                say(f"warning  {addition.video_id} {one_line(facts.title)}: {warning}")


def _say_skipped(additions: "list[Addition]") -> None:
    """Print the skipped files with the reason, shortened when many share one."""
    from enrich.library.adding import PathOutcome

    skipped: dict[str | None, list[Path]] = {}
    for addition in additions:
        if addition.outcome is PathOutcome.SKIPPED:
            skipped.setdefault(addition.error, []).append(addition.path)
    for reason, paths in skipped.items():
        if len(paths) > MAX_SKIPPED_LINES:
            say(f"skipped  {paths[0]} and {len(paths) - 1:,} more ({reason})")
            continue
        for path in paths:
            say(f"skipped  {path} ({reason})")


def _say_estimate(library: object, sampling: "Sampling", additions: "list[Addition]") -> None:
    from enrich.cli.estimate import say_estimate
    from enrich.library.adding import PathOutcome

    facts = [addition.facts for addition in additions if addition.outcome is PathOutcome.ADDED and addition.facts]
    if facts:
        say_estimate(library, sampling, facts)  # type: ignore[arg-type]
        say("Next: everyframe start (in the background) or everyframe enrich (in this terminal)")


def _list_rows(rows: "list[VideoRow]") -> list[list[object]]:
    """One row per video. Chapters of a recording are grouped in order, below a row with their totals."""
    recordings: dict[str, list[VideoRow]] = {}
    for row in rows:
        recordings.setdefault(row.recording or f"video {row.id}", []).append(row)
    lines: list[list[object]] = []
    for recording, parts in recordings.items():
        parts.sort(key=lambda row: (row.chapter or 0, row.id))
        if len(parts) > 1:
            lines.append(_recording_line(Path(recording).name, parts))
        lines += [_list_row(row, title=f"· {row.title}" if len(parts) > 1 else row.title) for row in parts]
    return lines


def _recording_line(name: str, parts: "list[VideoRow]") -> list[object]:
    lengths = [row.duration for row in parts if row.duration is not None]
    count = sum(row.frame_count or 0 for row in parts)
    is_counted = all(row.extraction_status == "extracted" for row in parts)
    return [
        "",
        f"{name} ({len(parts)} chapters)",
        _length(sum(lengths) if len(lengths) == len(parts) else None),
        count if is_counted else f"about {count or '?'}",
        sum(row.kept for row in parts),
        sum(row.described for row in parts),
        sum(row.covered for row in parts),
        sum(row.failed for row in parts) or "",
        "",
    ]


def _length(seconds: float | None) -> str:
    return format_timestamp(seconds).split(".")[0] if seconds else "unknown"


def _list_row(row: "VideoRow", *, title: str) -> list[object]:
    from enrich.library.completion import is_damaged

    is_extracted = row.extraction_status == "extracted"
    status = STATUS_WORDS[row.extraction_status]
    if is_extracted and row.enrichment_status != "pending":
        is_done = row.enrichment_status == "enriched"
        status = "damaged" if is_done and is_damaged(row) else STATUS_WORDS[row.enrichment_status]
    elif row.extraction_status == "extracting" and row.described:
        status = "extracting, describing"
    return [
        row.id,
        title,
        _length(row.duration),
        row.frame_count if is_extracted else f"about {row.frame_count or '?'}",
        row.kept,
        row.described,
        row.covered,
        row.failed or "",
        status,
    ]
