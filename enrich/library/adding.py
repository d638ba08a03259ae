"""Adds files and folders to a library (probe, fingerprint, video row, first task), and relinks moved videos."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from db import queries
from db.engine import reading, writing
from db.extraction import resume_video
from db.queries import VideoRow
from db.store import AddResult, NewVideo, add_video
from enrich.errors import VideoChangedError, VideoError
from enrich.filenames import chapter_of, holds_media, ignored_file, ignored_folder, is_media_name, raw_format
from enrich.library.library import Library
from enrich.schedule.coverage import CoverageOrder
from enrich.video.fingerprint import fingerprint
from enrich.video.probe import VideoFacts, probe
from enrich.video.sampling import Sampling
from enrich.wording import printable


class PathOutcome(StrEnum):
    """What happened to one path."""

    ADDED = "added"
    KNOWN = "known"
    MOVED = "moved"
    SKIPPED = "skipped"  # found in a folder, but not a video, or a folder of ignored files
    FAILED = "failed"  # named by the user, or looks like a video, but cannot be used


@dataclass(frozen=True, slots=True)
class Addition:
    """One path and what happened to it; `error` is the reason if it was skipped or failed."""

    path: Path
    outcome: PathOutcome
    was_named: bool  # by the user, rather than found in a folder
    video_id: int | None = None
    facts: VideoFacts | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPath:
    """A file, or a folder that is not searched; `ignored_reason` says why it is skipped."""

    path: Path
    was_named: bool  # by the user, rather than found in a folder
    ignored_reason: str | None = None


def add_paths(
    library: Library,
    paths: Iterable[Path],
    *,
    sampling: Sampling,
    context: str,
    titles: Mapping[Path, str] | None = None,
) -> Iterator[Addition]:
    """Add each file and every video below each folder. A file that fails does not stop the others.

    `titles` maps absolute paths to titles for files with meaningless names.
    """
    for found in find_paths(paths):
        path, was_named = found.path, found.was_named
        if not was_named and (found.ignored_reason or not (is_media_name(path) or raw_format(path))):
            yield Addition(path, PathOutcome.SKIPPED, was_named, error=found.ignored_reason or "not a video file type")
            continue
        try:
            str(path).encode()
        except UnicodeEncodeError:  # bytes of another character set, which no database stores
            error = f"{path} cannot be added, because its name is not valid text: rename it"
            yield Addition(path, PathOutcome.FAILED, was_named, error=error)
            continue
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  # pathlib's raise
            # Reading a pipe would never end.
            yield Addition(path, PathOutcome.FAILED, was_named, error=f"{path} is not a regular file")
            continue
        try:
            facts = probe(path)
        except VideoError as error:
            yield Addition(path, PathOutcome.FAILED, was_named, error=str(error))
            continue
        title = (titles or {}).get(path, facts.title)
        with writing(library.engine) as connection:
            video_id, result = add_video(
                connection,
                replace(new_video(facts), title=title),
                sampling=str(sampling),
                context=context,
                now=datetime.now(UTC),
                skim_count=CoverageOrder(facts.duration).skim_count(),
            )
        match result:
            case AddResult.ADDED:
                outcome = PathOutcome.ADDED
            case AddResult.KNOWN:
                outcome = PathOutcome.KNOWN
            case AddResult.MOVED:
                outcome = PathOutcome.MOVED
        yield Addition(path, outcome, was_named, video_id=video_id, facts=facts)


def walk(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """The files that `find_paths` finds and does not ignore, and whether the user named them."""
    return ((found.path, found.was_named) for found in find_paths(paths) if found.ignored_reason is None)


def find_paths(paths: Iterable[Path]) -> Iterator[FoundPath]:
    """Find the files that paths mean. Folders are searched in order of name, without folders of ignored files."""
    for path in paths:
        if not path.is_dir():
            whole = Path(os.path.abspath(path))  # noqa: PTH100  # resolves `..` but keeps links as the user knows them
            yield FoundPath(whole, was_named=True)
            continue
        for folder, folders, names in os.walk(os.path.abspath(path)):  # noqa: PTH100
            skipped = {name: reason for name in sorted(folders) if (reason := ignored_folder(name))}
            folders[:] = sorted(set(folders) - set(skipped))
            for name, reason in skipped.items():
                if holds_media(Path(folder) / name):
                    yield FoundPath(Path(folder) / name, was_named=False, ignored_reason=reason)
            for name in sorted(names):
                if not name.startswith(".") or is_media_name(name):
                    file = Path(folder) / name
                    yield FoundPath(file, was_named=False, ignored_reason=ignored_file(file))


def new_video(facts: VideoFacts) -> NewVideo:
    """The new row for a probed video."""
    chapter = chapter_of(facts.path)
    return NewVideo(
        path=str(facts.path),
        fingerprint=facts.fingerprint,
        title=facts.title,
        duration=facts.duration,
        fps=facts.fps,
        width=facts.width,
        height=facts.height,
        codec=facts.codec,
        rotation=facts.rotation,
        recorded_at=facts.recorded_at,
        start_timecode=facts.start_timecode,
        camera=facts.camera,
        frame_count=facts.frame_estimate,
        recording=chapter.recording if chapter else None,
        chapter=chapter.number if chapter else None,
        warnings=list(facts.warnings),
    )


def relink(library: Library, video: VideoRow, path: Path) -> VideoRow:
    """Point a video to this file, let its waiting tasks continue, and return its row.

    Raises VideoChangedError if the file is a different video, VideoError if it is not a video.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100  # resolves `..` but keeps links as the user knows them
    if fingerprint(whole) != video.fingerprint:
        raise VideoChangedError(
            f"{printable(str(whole))} is not the same video as {printable(video.title)}, so nothing was changed: "
            "choose the moved file, or add this one with `everyframe add`"
        )
    facts = new_video(probe(whole))
    with writing(library.engine) as connection:
        add_video(connection, facts, sampling=video.sampling, context="", now=datetime.now(UTC))
        resume_video(connection, video.id)
    with reading(library.engine) as connection:
        return queries.video(connection, video.id)
