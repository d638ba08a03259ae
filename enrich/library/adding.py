"""Adds files and folders to a library (probe, fingerprint, video row, first task), and relinks moved videos.

A file with the content of a known video is another location of it if the video's file is still there, and its new path
if not. Nothing that one file does ends the adding of a folder: it becomes a failed one, with its reason.
"""

import logging
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from db import files, queries, store
from db.editing import set_context
from db.engine import reading, writing
from db.errors import StorageError
from db.extraction import resume_video
from db.models import EXTRACTION_ENDED
from db.queries import VideoRow
from db.store import NewVideo
from enrich.errors import VideoChangedError, VideoError
from enrich.filenames import chapter_of, holds_media, ignored_file, ignored_folder, is_media_name, raw_format
from enrich.library import probe_process
from enrich.library.images import located, newer_fingerprint
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.schedule.coverage import CoverageOrder
from enrich.video.fingerprint import have_same_bytes, is_outdated, is_same_video, whole_fingerprint
from enrich.video.probe import VideoFacts
from enrich.video.sampling import Sampling
from enrich.wording import one_line, printable

log = logging.getLogger(__name__)

MAX_ERROR_CHARACTERS = 300


class PathOutcome(StrEnum):
    """What happened to one path."""

    ADDED = "added"
    KNOWN = "known"
    MOVED = "moved"
    SKIPPED = "skipped"  # found in a folder, but not a video, or a folder of ignored files
    FAILED = "failed"  # named by the user, or looks like a video, but cannot be used


@dataclass(frozen=True, slots=True)
class Addition:
    """One path and what happened to it; `error` is the reason if it was skipped or failed.

    `note`: what adding a known video changed, or did not change and how to change it; often empty.
    """

    path: Path
    outcome: PathOutcome
    was_named: bool  # by the user, rather than found in a folder
    video_id: int | None = None
    facts: VideoFacts | None = None
    error: str | None = None
    note: str = ""
    title: str | None = None  # in the library, which may differ from that of the file


@dataclass(frozen=True, slots=True)
class FoundPath:
    """A file, or a folder that is not searched; `ignored_reason` says why it is skipped."""

    path: Path
    was_named: bool  # by the user, rather than found in a folder
    ignored_reason: str | None = None
    error: str | None = None  # why a folder could not be searched


@dataclass(frozen=True, slots=True)
class Choices:
    """What the user chose for the videos to add; `is_sampling_chosen` False: the sampling is a default."""

    sampling: Sampling
    context: str
    is_sampling_chosen: bool
    titles: Mapping[Path, str]


def add_paths(
    library: Library,
    paths: Iterable[Path],
    *,
    sampling: Sampling,
    context: str,
    titles: Mapping[Path, str] | None = None,
    is_sampling_chosen: bool = True,
) -> Iterator[Addition]:
    """Add each file and every video below each folder. A file that fails does not stop the others.

    `titles` maps absolute paths to titles for files with meaningless names. A known video keeps its sampling if
    `is_sampling_chosen` is False.
    """
    choices = Choices(sampling, context, is_sampling_chosen, titles or {})
    with probe_process.ProbeProcess() as prober:
        for found in find_paths(paths):
            yield _add(library, prober, found, choices)


def _add(library: Library, prober: probe_process.ProbeProcess, found: FoundPath, choices: Choices) -> Addition:
    """Add one path. Raises errors of the database only."""
    path, was_named = found.path, found.was_named
    if found.error is not None:
        return Addition(path, PathOutcome.FAILED, was_named, error=found.error)
    if not was_named and (found.ignored_reason or not (is_media_name(path) or raw_format(path))):
        return Addition(path, PathOutcome.SKIPPED, was_named, error=found.ignored_reason or "not a video file type")
    try:
        _require_text(path)
        return _add_file(library, path, prober.probe(path), was_named=was_named, choices=choices)
    except (StorageError, SQLAlchemyError):
        raise
    except probe_process.ProbeCrashedError as error:
        log.warning("%s\n%s", error, error.details, extra=about(Action.VIDEO_FAILED))
        reason = str(error)
    except VideoError as error:
        reason = str(error)
    except Exception as error:
        log.exception("unexpected error while adding %s", path, extra=about(Action.VIDEO_FAILED))
        details = ": ".join(part for part in (type(error).__name__, one_line(str(error), MAX_ERROR_CHARACTERS)) if part)
        reason = f"{path} could not be added ({details}): the file is probably damaged; the log has the details"
    return Addition(path, PathOutcome.FAILED, was_named, error=reason)


def _require_text(path: Path) -> None:
    """Raise VideoError for a name with bytes of another character set, which no database stores."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise VideoError(f"{path} cannot be added, because its name is not valid text: rename it") from None


def _add_file(library: Library, path: Path, facts: VideoFacts, *, was_named: bool, choices: Choices) -> Addition:
    known, has_twin = _known_video(library, path, size=facts.size_bytes)
    if known is not None:
        return _add_known(library, known, facts, was_named=was_named, choices=choices)
    content = whole_fingerprint(path) if has_twin else facts.fingerprint
    title = unicodedata.normalize("NFC", choices.titles.get(path, facts.title))
    with writing(library.engine) as connection:
        video_id, is_new = store.add_video(
            connection,
            replace(new_video(facts), title=title, fingerprint=content, image_folder=content),
            sampling=str(choices.sampling),
            context=choices.context,
            now=datetime.now(UTC),
            skim_count=CoverageOrder(facts.duration).skim_count(),
        )
    outcome = PathOutcome.ADDED if is_new else PathOutcome.KNOWN
    return Addition(path, outcome, was_named, video_id=video_id, facts=facts, title=title)


def _known_video(library: Library, path: Path, *, size: int) -> tuple[VideoRow | None, bool]:
    """The video that this file is, or is a copy of; None if it is new. And whether a new one has a twin in the library.

    Twins have the same sample in their fingerprints, but not the same bytes. Both get fingerprints of every byte.
    """
    has_twin = False
    with reading(library.engine) as connection:
        same_size = files.known_files(connection, size=size)
        rows = {row.id: row for row in queries.videos(connection, [known.video_id for known in same_size])}
    # The more a fingerprint says, the earlier it is compared.
    for known in sorted(same_size, key=lambda known: (is_outdated(known.fingerprint), -len(known.fingerprint))):
        row = rows.get(known.video_id)
        if row is None or not is_same_video(path, known.fingerprint):
            continue
        if str(path) in known.paths:
            return row, False
        try:
            own = located(row).path
        except VideoError:  # moved here, as far as can be told without it
            return row, False
        if _is_same_file(path, own) or have_same_bytes(path, own):
            return row, False
        if not is_outdated(known.fingerprint):
            has_twin = True
            with writing(library.engine) as connection:
                files.set_fingerprint(connection, row.id, whole_fingerprint(own), before=row.fingerprint)
    return None, has_twin


def _add_known(library: Library, row: VideoRow, facts: VideoFacts, *, was_named: bool, choices: Choices) -> Addition:
    """Record where a known video was found, and what the user chose for it."""
    path, now, notes = str(facts.path), datetime.now(UTC), []
    known = dict.fromkeys((*row.locations, row.path))
    try:
        used = located(row)
    except VideoError:
        used = None
    is_new_path = path not in known and (used is None or not any(_is_same_file(path, other) for other in known))
    used = used or replace(row, path=path)
    new_fingerprint = newer_fingerprint(library, used)
    is_moved = used.path == path != row.path
    with writing(library.engine) as connection:
        if is_new_path:
            files.record_location(connection, row.id, path, now=now)
            if used.path != path:
                notes.append("recorded a second location" if len(known) == 1 else "recorded another location")
        if used.path != row.path:
            files.use_location(connection, row.id, used.path)
        if is_moved:
            chapter = new_video(facts)
            files.set_chapter(connection, row.id, chapter.recording, chapter.chapter)
        if new_fingerprint is not None:
            files.set_fingerprint(connection, row.id, new_fingerprint, before=row.fingerprint)
        if row.error is not None and row.extraction_status not in EXTRACTION_ENDED:  # it waited for its file
            resume_video(connection, row.id)
        if choices.context and choices.context != row.context:
            set_context(connection, row.id, choices.context)
            notes.append("changed its context, for the frames described from now on")
        if choices.is_sampling_chosen and str(choices.sampling) != row.sampling:
            is_changed = files.change_sampling(connection, row.id, str(choices.sampling))
            notes.append(_sampling_note(row, choices.sampling, is_changed=is_changed))
    outcome = PathOutcome.MOVED if is_moved else PathOutcome.KNOWN
    note = "; ".join(notes)
    return Addition(facts.path, outcome, was_named, video_id=row.id, facts=facts, note=note, title=row.title)


def _sampling_note(row: VideoRow, chosen: Sampling, *, is_changed: bool) -> str:
    if is_changed:
        return f"changed its sampling from {row.sampling} to {chosen}"
    return (
        f"kept its sampling {row.sampling}, because its frames have been extracted: to have {chosen}, remove the video "
        f"with its descriptions (`everyframe remove {row.id}`) and add it again"
    )


def _is_same_file(one: Path | str, other: Path | str) -> bool:
    """Whether two paths that differ lead to one file: by a link, or by another way to write its name."""
    try:
        first, second = Path(one).stat(), Path(other).stat()
    except OSError:
        return False
    if first.st_ino == 0:  # a file system of Windows that does not number files
        return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
    return os.path.samestat(first, second)


def walk(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """The files that `find_paths` finds and does not ignore, and whether the user named them."""
    found = (one for one in find_paths(paths) if one.ignored_reason is None and one.error is None)
    return ((one.path, one.was_named) for one in found)


def find_paths(paths: Iterable[Path]) -> Iterator[FoundPath]:
    """Find the files that paths mean. Folders are searched in order of name, without folders of ignored files.

    Linked folders are searched last, and every folder once, however many links lead to it.
    """
    for path in paths:
        whole = Path(os.path.abspath(path))  # noqa: PTH100  # resolves `..` but keeps links as the user knows them
        if os.path.isdir(path):  # noqa: PTH112  # pathlib's raises errors
            yield from _FolderSearch(whole).search()
        else:
            yield FoundPath(whole, was_named=True)


class _FolderSearch:
    """Searches a folder, then the folders that links in it lead to. No folder is searched twice."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._visited = {_identity(root)}
        self._links: list[Path] = []
        self._unreadable: list[OSError] = []

    def search(self) -> Iterator[FoundPath]:
        yield from self._search(self._root)
        while self._links:
            link = self._links.pop(0)
            if self._root.resolve().is_relative_to(link.resolve()):  # such as a link to `/`
                if _identity(link) not in self._visited:
                    reason = "link to a folder that contains the searched one"
                    yield FoundPath(link, was_named=False, ignored_reason=reason)
            elif self._visits(link):
                yield from self._search(link)
        for error in self._unreadable:
            path = Path(error.filename or self._root)
            text = f"{path} cannot be searched ({error.strerror}): allow your user to read it, or check its drive"
            yield FoundPath(path, was_named=path == self._root, error=text)

    def _search(self, start: Path) -> Iterator[FoundPath]:
        for folder, folders, names in os.walk(start, onerror=self._unreadable.append):
            opened = []
            for inner in sorted(Path(folder) / name for name in folders):
                if reason := ignored_folder(inner.name):
                    if holds_media(inner):
                        yield FoundPath(inner, was_named=False, ignored_reason=reason)
                elif inner.is_symlink() or _is_junction(inner):
                    self._links.append(inner)
                elif self._visits(inner):
                    opened.append(inner.name)
            folders[:] = opened
            for name in sorted(names):
                if not name.startswith(".") or is_media_name(name):
                    file = Path(folder) / name
                    yield FoundPath(file, was_named=False, ignored_reason=ignored_file(file))

    def _visits(self, folder: Path) -> bool:
        """Whether the folder is new; it is visited from now on."""
        identity = _identity(folder)
        is_new = identity not in self._visited
        self._visited.add(identity)
        return is_new


def _identity(folder: Path) -> tuple[int, int] | str:
    """What all paths to one folder share."""
    try:
        status = folder.stat()
    except OSError:
        return str(folder)
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.normcase(os.path.realpath(folder))


def _is_junction(folder: Path) -> bool:
    """Whether a folder is Windows' other kind of link; Python 3.11 cannot tell, and searches it in its place."""
    is_junction = getattr(os.path, "isjunction", None)
    return is_junction is not None and bool(is_junction(folder))


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
        image_folder=facts.fingerprint,
        warnings=list(facts.warnings),
    )


def relink(library: Library, video: VideoRow, path: Path) -> VideoRow:
    """Point a video to this file, let its waiting tasks continue, and return its row. Other locations stay known.

    Raises VideoChangedError if the file is a different video, VideoError if it is not a video.
    """
    whole = Path(os.path.abspath(path))  # noqa: PTH100  # resolves `..` but keeps links as the user knows them
    if not is_same_video(whole, video.fingerprint):
        raise VideoChangedError(
            f"{printable(str(whole))} is not the same video as {printable(video.title)}, so nothing was changed: "
            "choose the moved file, or add this one with `everyframe add`"
        )
    with probe_process.ProbeProcess() as prober:
        facts = new_video(prober.probe(whole))
    with writing(library.engine) as connection:
        files.prefer_location(connection, video.id, str(whole), now=datetime.now(UTC))
        files.set_chapter(connection, video.id, facts.recording, facts.chapter)
        resume_video(connection, video.id)
    with reading(library.engine) as connection:
        return queries.video(connection, video.id)
