"""Verifies that the rows, images, source frames and model replies of a library are consistent.

May run while a worker runs; then videos that are not fully extracted are skipped. Memory holds one page of rows.
Nothing is written unless `repair` is set, which recreates images, discards descriptions of wrong images so that they
are made again, queues videos with wrong positions for extraction, recounts rows and deletes orphaned files.

One video never ends the verification of the others: whatever its check raises becomes a finding.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from db import checks, queries, runs
from db.engine import reading, writing
from db.errors import StorageError
from db.migrate import check_integrity
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import DiskFullError, ImageStorageError, VideoError
from enrich.library.images import located, require_same_file, translated_errors, use_file
from enrich.library.library import Library
from enrich.process import is_alive
from enrich.verify.findings import POSITION_KINDS, FindingGroup, FindingKind, FindingLog
from enrich.verify.images import ImageCheck, find_orphans, find_unknown_folders
from enrich.verify.rows import check_counts, check_descriptions, check_sequence, check_status


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a verification."""

    videos: int
    frames: int
    groups: list[FindingGroup]
    skipped: list[str]  # while a worker runs: titles of videos not fully extracted yet
    discarded: checks.DiscardedFrames  # waiting for a new description, since this or an earlier repair

    @property
    def found(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def repaired(self) -> int:
        return sum(group.repaired for group in self.groups)

    @property
    def is_consistent(self) -> bool:
        """Whether no problem is left after repairs."""
        return self.found == self.repaired

    @property
    def queued(self) -> list[str]:
        """The titles of the videos that the repair queued for extraction again."""
        titles = {group.video_id: group.title for group in self.groups if group.is_queued}
        return [title or "" for title in titles.values()]


def verify(
    library: Library,
    video_ids: Collection[int] | None = None,
    *,
    quick: bool = False,
    repair: bool = False,
    on_progress: Callable[[VideoRow, int], None] = lambda *_: None,
) -> VerifyResult:
    """Check the library, or some of its videos. `on_progress` gets the video and the number of frames decoded."""
    findings = FindingLog()
    with reading(library.engine) as connection:
        has_worker = any(is_alive(run) for run in runs.live_runs(connection))
    if not _is_database_intact(library, findings, quick=quick, has_worker=has_worker):
        # The rows of a damaged database are not worth comparing.
        return VerifyResult(0, 0, findings.groups, [], checks.DiscardedFrames(0, 0))
    with reading(library.engine) as connection:
        rows = queries.videos(connection, video_ids)
    frames, skipped = 0, []
    for video in rows:
        is_extracted = video.extraction_status is ExtractionStatus.EXTRACTED
        if has_worker and not is_extracted:
            skipped.append(video.title)
            continue
        with suppress(VideoError):  # reported below
            video = use_file(library, video) if repair else located(video)  # noqa: PLW2901  # the same video
        images = ImageCheck(library, video, findings, repair=repair)
        try:
            _check_video(library, video, images, findings, quick=quick, repair=repair, on_progress=on_progress)
            if is_extracted:
                find_orphans(library, video, findings, repair=repair)
        except (StorageError, SQLAlchemyError):  # the database, not the video
            raise
        except Exception as error:  # noqa: BLE001  # the other videos are still checked
            findings.add(FindingKind.UNCHECKED, video, _reason(error))
        frames += images.frames
        with reading(library.engine) as connection:
            if not queries.videos(connection, [video.id]):
                findings.discard_video(video.id)
    if video_ids is None and not has_worker:
        find_unknown_folders(library, findings, repair=repair)
    with reading(library.engine) as connection:
        discarded = checks.discarded_frames(connection, video_ids)
    return VerifyResult(len(rows) - len(skipped), frames, findings.groups, skipped, discarded)


def _is_database_intact(library: Library, findings: FindingLog, *, quick: bool, has_worker: bool) -> bool:
    try:
        check_integrity(library.engine)
    except StorageError as error:
        findings.add(FindingKind.DATABASE, None, str(error))
        return False
    with reading(library.engine) as connection:
        for table, count in checks.dangling_rows(connection):
            findings.add(FindingKind.REFERENCE, None, f"{count} in {table}")
    if not quick and not has_worker:  # needs the write lock while it reads all texts
        with writing(library.engine) as connection:
            if not checks.is_search_index_consistent(connection):
                findings.add(FindingKind.SEARCH_INDEX, None, "search_index")
    return True


def _check_video(
    library: Library,
    video: VideoRow,
    images: ImageCheck,
    findings: FindingLog,
    *,
    quick: bool,
    repair: bool,
    on_progress: Callable[[VideoRow, int], None],
) -> None:
    check_sequence(library.engine, video, findings)
    check_status(library.engine, video, findings)
    check_counts(library.engine, video, findings, repair=repair)
    check_descriptions(library.engine, video, findings)
    has_file = True
    try:
        require_same_file(video)
    except VideoError as error:
        findings.add(FindingKind.FILE, video, str(error))
        has_file = False
    if quick or not has_file or not video.kept:
        images.check_files(has_file=has_file)
    else:
        try:
            with translated_errors(library, video):
                images.check_with_video(lambda decoded: on_progress(video, decoded))
        except (ImageStorageError, DiskFullError) as error:
            findings.add(FindingKind.UNCHECKED, video, str(error))
            return
        except (StorageError, SQLAlchemyError):
            raise
        except Exception as error:  # noqa: BLE001  # such as an IndexError of PyAV: the other videos are still checked
            reason = (
                str(error) if isinstance(error, VideoError) else f"{video.path} cannot be decoded ({_reason(error)})"
            )
            findings.add(FindingKind.UNDECODED, video, reason)
            has_file = False
            images.check_files(has_file=False)
    is_trusted = has_file and not findings.has(video, FindingKind.DAMAGED)
    if repair and is_trusted and findings.has(video, *POSITION_KINDS):
        with writing(library.engine) as connection:
            if checks.queue_extraction(connection, video.id):
                findings.mark_queued(video)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, VideoError) else f"{type(error).__name__}: {error}"
