"""Adding files and folders to a library: probe, fingerprint, video row and its first task.

Relinking: telling the library where a film lies now that was moved, and that it is still the same film.
"""

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
    """What came of one path."""

    ADDED = "added"
    KNOWN = "known"
    MOVED = "moved"
    SKIPPED = "skipped"  # lies in a folder and is no video, or a folder that holds none
    FAILED = "failed"  # was named, or looks like a video, and cannot be used


@dataclass(frozen=True, slots=True)
class Addition:
    """One path and what came of it; `error` says why, where it was skipped or failed."""

    path: Path
    outcome: PathOutcome
    was_named: bool  # rather than found in a folder
    video_id: int | None = None
    facts: VideoFacts | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPath:
    """A file, or a folder that is not searched; `clutter` says what it is instead of a film."""

    path: Path
    was_named: bool  # rather than found in a folder
    clutter: str | None = None


def add_paths(
    library: Library,
    paths: Iterable[Path],
    *,
    sampling: Sampling,
    context: str,
    titles: Mapping[Path, str] | None = None,
) -> Iterator[Addition]:
    """Add each file, and every video below each folder; one that cannot be used does not stop the others.

    `titles`: by absolute path, those of files whose names say nothing.
    """
    for found in search(paths):
        path, was_named = found.path, found.was_named
        if not was_named and (found.clutter or not (is_media_name(path) or raw_format(path))):
            yield Addition(path, PathOutcome.SKIPPED, was_named, error=found.clutter or "not a video, by its name")
            continue
        try:
            str(path).encode()
        except UnicodeEncodeError:  # bytes of another character set: no database keeps them
            yield Addition(path, PathOutcome.FAILED, was_named, error=f"{path}: its name is no valid text: rename it")
            continue
        if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  # pathlib's raise
            yield Addition(path, PathOutcome.FAILED, was_named, error=f"{path} is no file")  # a pipe would never end
            continue
        try:
            facts = probe(path)
        except VideoError as error:
            yield Addition(path, PathOutcome.FAILED, was_named, error=str(error))
            continue
        title = (titles or {}).get(path, facts.title)
        with writing(library.engine) as connection:
            video_id, adding = add_video(
                connection,
                replace(new_video(facts), title=title),
                sampling=str(sampling),
                context=context,
                now=datetime.now(UTC),
                skim_count=CoverageOrder(facts.duration).skim_count(),
            )
        match adding:
            case AddResult.ADDED:
                outcome = PathOutcome.ADDED
            case AddResult.KNOWN:
                outcome = PathOutcome.KNOWN
            case AddResult.MOVED:
                outcome = PathOutcome.MOVED
        yield Addition(path, outcome, was_named, video_id=video_id, facts=facts)


def walk(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """The files that may be meant by paths, and whether each was named itself; see `search`."""
    return ((found.path, found.was_named) for found in search(paths) if found.clutter is None)


def search(paths: Iterable[Path]) -> Iterator[FoundPath]:
    """The files meant by paths; folders are searched through, in order of name, but for those that hold no films."""
    for path in paths:
        if not path.is_dir():
            whole = Path(os.path.abspath(path))  # noqa: PTH100  # `..` taken out, links kept as the user knows them
            yield FoundPath(whole, was_named=True)
            continue
        for folder, folders, names in os.walk(os.path.abspath(path)):  # noqa: PTH100
            skipped = {name: reason for name in sorted(folders) if (reason := ignored_folder(name))}
            folders[:] = sorted(set(folders) - set(skipped))
            for name, reason in skipped.items():
                if holds_media(Path(folder) / name):
                    yield FoundPath(Path(folder) / name, was_named=False, clutter=reason)
            for name in sorted(names):
                if not name.startswith(".") or is_media_name(name):
                    file = Path(folder) / name
                    yield FoundPath(file, was_named=False, clutter=ignored_file(file))


def new_video(facts: VideoFacts) -> NewVideo:
    """A row's worth of what probing found."""
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
    """Have a video's row name this file, and what waited for the file go on; the row as it is then.

    Raises VideoChangedError if it is another film, VideoError if there is none.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100  # `..` taken out, links kept as the user knows them
    if fingerprint(whole) != video.fingerprint:
        raise VideoChangedError(
            f"{printable(str(whole))} is another film than {printable(video.title)}, which stays as it is: "
            "name the file it was moved to, or `everyframe add` this one"
        )
    facts = new_video(probe(whole))
    with writing(library.engine) as connection:
        add_video(connection, facts, sampling=video.sampling, context="", now=datetime.now(UTC))
        resume_video(connection, video.id)
    with reading(library.engine) as connection:
        return queries.video(connection, video.id)
