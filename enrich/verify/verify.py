"""Verification: whether every row, picture, source frame and answer of a library belong together.

It may run beside a worker, and then judges only what is settled: videos that are extracted. Nothing is held in memory
but one page of rows, and nothing is written unless it is asked to mend, which makes pictures again, brings tallies in
line and deletes orphans.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from db import checks, queries, runs
from db.engine import reading, writing
from db.migrate import SchemaError, check_integrity
from db.models import ExtractionStatus
from db.queries import VideoRow
from enrich.errors import VideoError
from enrich.library.images import require_same_file
from enrich.library.library import Library
from enrich.process import is_alive
from enrich.verify.findings import FindingGroup, FindingKind, FindingLog
from enrich.verify.pictures import ImageCheck, check_orphans, check_strangers
from enrich.verify.rows import check_chain, check_state, check_tally, check_words


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a verification came to. `left_out`: titles of videos a worker has in hand."""

    videos: int
    frames: int
    groups: list[FindingGroup]
    left_out: list[str]

    @property
    def found(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def mended(self) -> int:
        return sum(group.mended for group in self.groups)

    @property
    def is_good(self) -> bool:
        """Whether all belongs together, now that what could be mended is."""
        return self.found == self.mended


def verify(
    library: Library,
    video_ids: Collection[int] | None = None,
    *,
    quick: bool = False,
    mend: bool = False,
    on_progress: Callable[[VideoRow, int], None] = lambda *_: None,
) -> VerifyResult:
    """Check the library, or some of its videos; `on_progress` is told how many frames of which are decoded."""
    ledger = FindingLog()
    with reading(library.engine) as connection:
        has_worker = any(is_alive(run) for run in runs.live_runs(connection))
    if not _is_database_whole(library, ledger, quick=quick, has_worker=has_worker):
        return VerifyResult(0, 0, ledger.groups, [])  # what a damaged one says is not worth comparing
    with reading(library.engine) as connection:
        rows = queries.videos(connection, video_ids)
    frames, left_out = 0, []
    for video in rows:
        is_settled = video.extraction_status is ExtractionStatus.EXTRACTED
        if has_worker and not is_settled:
            left_out.append(video.title)
            continue
        frames += _check_video(library, video, ledger, quick=quick, mend=mend, on_progress=on_progress)
        if is_settled:
            check_orphans(library, video, ledger, mend=mend)
        with reading(library.engine) as connection:
            if not queries.videos(connection, [video.id]):
                ledger.forget(video.id)
    if video_ids is None and not has_worker:
        check_strangers(library, ledger, mend=mend)
    return VerifyResult(len(rows) - len(left_out), frames, ledger.groups, left_out)


def _is_database_whole(library: Library, ledger: FindingLog, *, quick: bool, has_worker: bool) -> bool:
    try:
        check_integrity(library.engine)
    except SchemaError as error:
        ledger.note(FindingKind.DATABASE, None, str(error))
        return False
    with reading(library.engine) as connection:
        for table, count in checks.dangling_rows(connection):
            ledger.note(FindingKind.REFERENCE, None, f"{count} in {table}")
    if not quick and not has_worker:  # it needs the write lock, for as long as all texts take to read
        with writing(library.engine) as connection:
            if not checks.is_search_index_consistent(connection):
                ledger.note(FindingKind.SEARCH_INDEX, None, "search_index")
    return True


def _check_video(
    library: Library,
    video: VideoRow,
    ledger: FindingLog,
    *,
    quick: bool,
    mend: bool,
    on_progress: Callable[[VideoRow, int], None],
) -> int:
    """Check one video; how many kept frames were looked at."""
    check_chain(library.engine, video, ledger)
    check_state(library.engine, video, ledger)
    check_tally(library.engine, video, ledger, mend=mend)
    check_words(library.engine, video, ledger)
    has_file = True
    try:
        require_same_file(video)
    except VideoError as error:
        ledger.note(FindingKind.FILE, video, str(error))
        has_file = False
    pictures = ImageCheck(library, video, ledger, mend=mend)
    if quick or not has_file or not video.kept:
        pictures.quick(has_file=has_file)
        return pictures.frames
    try:
        pictures.full(lambda decoded: on_progress(video, decoded))
    except VideoError as error:
        ledger.note(FindingKind.UNDECODED, video, str(error))
    return pictures.frames
