"""Verifies that the rows, images, source frames and model replies of a library are consistent.

May run while a worker runs; then videos that are not fully extracted are skipped. Memory holds one page of rows.
Nothing is written unless `repair` is set, which recreates images, recounts rows and deletes orphaned files.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from db import checks, queries, runs
from db.engine import reading, writing
from db.errors import StorageError
from db.migrate import check_integrity
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.images import require_same_file
from enrich.library.library import Library
from enrich.process import is_alive
from enrich.verify.findings import FindingGroup, FindingKind, FindingLog
from enrich.verify.images import ImageCheck, find_orphans, find_unknown_folders
from enrich.verify.rows import check_counts, check_descriptions, check_sequence, check_status


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of a verification."""

    videos: int
    frames: int
    groups: list[FindingGroup]
    skipped: list[str]  # while a worker runs: titles of videos not fully extracted yet

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
        return VerifyResult(0, 0, findings.groups, [])  # the rows of a damaged database are not worth comparing
    with reading(library.engine) as connection:
        rows = queries.videos(connection, video_ids)
    frames, skipped = 0, []
    for video in rows:
        is_extracted = video.extraction_status is ExtractionStatus.EXTRACTED
        if has_worker and not is_extracted:
            skipped.append(video.title)
            continue
        frames += _check_video(library, video, findings, quick=quick, repair=repair, on_progress=on_progress)
        if is_extracted:
            find_orphans(library, video, findings, repair=repair)
        with reading(library.engine) as connection:
            if not queries.videos(connection, [video.id]):
                findings.discard_video(video.id)
    if video_ids is None and not has_worker:
        find_unknown_folders(library, findings, repair=repair)
    return VerifyResult(len(rows) - len(skipped), frames, findings.groups, skipped)


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
    findings: FindingLog,
    *,
    quick: bool,
    repair: bool,
    on_progress: Callable[[VideoRow, int], None],
) -> int:
    """Check one video; returns the number of kept frames checked."""
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
    images = ImageCheck(library, video, findings, repair=repair)
    if quick or not has_file or not video.kept:
        images.check_files(has_file=has_file)
        return images.frames
    try:
        images.check_with_video(lambda decoded: on_progress(video, decoded))
    except VideoError as error:
        findings.add(FindingKind.UNDECODED, video, str(error))
    return images.frames
