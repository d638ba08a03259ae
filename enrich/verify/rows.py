"""Checks of database rows: the sequence of kept frames, statuses and counts, and the parts of each description."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import Connection, Engine

from db import checks, counts, search, store
from db.checks import DescribedFrame, SourceCall, StoredFrame
from db.engine import reading, writing
from db.models import ExtractionStatus, TaskStatus
from db.queries import VideoRow
from enrich.describe.baseline import BaselineDescriber
from enrich.describe.describer import Call, Description, Question
from enrich.describe.quick.local import stored_description
from enrich.describe.reply import read_reply
from enrich.verify.findings import FindingKind, FindingLog, frame_label

NO_QUESTION = Question(())  # only the warnings depend on the question, not the parsed description
Row = TypeVar("Row")
Key = TypeVar("Key")


def placed_frames(engine: Engine, video_id: int) -> Iterator[StoredFrame]:
    """All frames of a video that have an index, in order."""
    return _paged(
        engine,
        lambda connection, after: checks.placed_frames(connection, video_id, after),
        lambda row: (row.index if row.index is not None else -1, row.id),
        checks.FIRST_PLACE,
    )


def described_frames(engine: Engine, video_id: int) -> Iterator[DescribedFrame]:
    """All frames of a video, with their descriptions."""
    return _paged(
        engine, lambda connection, after: checks.described_frames(connection, video_id, after), lambda row: row.id, 0
    )


def check_sequence(engine: Engine, video: VideoRow, findings: FindingLog) -> None:
    """Check that the kept frames stand for all source frames, without gap or overlap, and that scenes are in order."""
    expected, scene, covered = 0, 0, 0
    for row in placed_frames(engine, video.id):
        place = frame_label(row.index, row.timestamp)
        if row.stands_for is None or row.scene is None:
            findings.add(FindingKind.UNPLACED, video, place)
            continue
        if row.index != expected or row.stands_for < 1:
            findings.add(FindingKind.CHAIN, video, f"{place}, expected frame {expected}")
        if row.scene < scene:
            findings.add(FindingKind.SCENE, video, place)
        expected, scene = (row.index or 0) + row.stands_for, row.scene
        covered += row.stands_for
    if video.extraction_status is ExtractionStatus.EXTRACTED:
        with reading(engine) as connection:
            unplaced = checks.unplaced_frames(connection, video.id)
        for row in unplaced:
            findings.add(FindingKind.UNPLACED, video, frame_label(None, row.timestamp))
        if covered != video.frame_count:
            findings.add(FindingKind.COUNT, video, f"the kept frames stand for {covered} of {video.frame_count}")


def check_status(engine: Engine, video: VideoRow, findings: FindingLog) -> None:
    """Check that a video's statuses match its tasks."""
    with reading(engine) as connection:
        expected = store.enrichment_due(connection, video.id)
        extraction = checks.extraction_task_status(connection, video.id)
    if expected is not None and expected is not video.enrichment_status:
        findings.add(
            FindingKind.STATUS, video, f"enrichment {video.enrichment_status}, expected {expected} from its tasks"
        )
    if (extraction == TaskStatus.DONE) != (video.extraction_status is ExtractionStatus.EXTRACTED):
        findings.add(
            FindingKind.STATUS, video, f"extraction {video.extraction_status}, its task is {extraction or 'missing'}"
        )


def check_counts(engine: Engine, video: VideoRow, findings: FindingLog, *, repair: bool) -> None:
    """Check a video's stored counts against its rows; `repair` recounts them under the write lock."""
    with reading(engine) as connection:
        stored, actual = counts.stored_counts(connection, video.id), counts.actual_counts(connection, video.id)
    if stored == actual:
        return
    if repair:
        with writing(engine) as connection:
            counts.recount(connection, video.id)
    findings.add(FindingKind.COUNTS, video, f"{stored or 'none'} stored, {actual} counted", repaired=repair)


def check_descriptions(engine: Engine, video: VideoRow, findings: FindingLog) -> None:
    """Check that each description has a finished task, a matching reply and a search document."""
    for row in described_frames(engine, video.id):
        place = frame_label(row.index, row.timestamp)
        _check_pass(
            video,
            findings,
            place,
            text=row.local_description,
            tags=row.local_tags,
            status=row.deep_status,
            source=row.deep,
        )
        if row.quick is None or row.quick.describer == BaselineDescriber.name:
            status = (
                row.quick_status if row.quick_description is None else TaskStatus.DONE
            )  # a quick pass needs no task
            _check_pass(video, findings, place, text=row.quick_description, tags=None, status=status, source=row.quick)
        else:
            _check_quick_pass(video, findings, place, row)
        best = _best_source(row)
        if best is None and row.source is not None:
            findings.add(FindingKind.DOCUMENT_EXTRA, video, place)
        elif best is not None and row.source is None:
            findings.add(FindingKind.DOCUMENT_MISSING, video, place)
        elif best != row.source:
            findings.add(FindingKind.DOCUMENT_EXTRA, video, f"{place}, indexed by another text than its best")


def parse_stored_reply(source: SourceCall) -> Description | None:
    """Parse a stored reply in the same way as when it was received."""
    call = Call(
        describer=source.describer,
        model=source.model,
        model_digest=source.model_digest,
        host="",
        prompt_version=source.prompt_version,
        latency_seconds=0.0,
        raw_reply=source.raw_reply or "",
    )
    if source.describer == BaselineDescriber.name:
        return BaselineDescriber().read(NO_QUESTION, call)[0]
    return read_reply(NO_QUESTION, call)[0]


def _check_pass(
    video: VideoRow,
    findings: FindingLog,
    place: str,
    *,
    text: str | None,
    tags: list[str] | None,
    status: str | None,
    source: SourceCall | None,
) -> None:
    if text is None:
        if status == TaskStatus.DONE:
            findings.add(FindingKind.MISSING_DESCRIPTION, video, place)
        return
    if status != TaskStatus.DONE:
        findings.add(FindingKind.TASK, video, f"{place}, its task is {status or 'missing'}")
    parsed = parse_stored_reply(source) if source is not None and source.raw_reply else None
    if parsed is None:
        findings.add(FindingKind.REPLY, video, place)
    elif parsed.text != text or (tags is not None and list(parsed.tags) != tags):
        findings.add(FindingKind.TEXT, video, place)


def _check_quick_pass(video: VideoRow, findings: FindingLog, place: str, row: DescribedFrame) -> None:
    """Check that a quick pass description matches its model reply. A quick pass needs no task."""
    raw = row.quick.raw_reply if row.quick is not None else None
    parsed = stored_description(raw) if raw else None
    if parsed is None:
        findings.add(FindingKind.REPLY, video, place)
    elif parsed != row.quick_description:
        findings.add(FindingKind.TEXT, video, place)


def _best_source(row: DescribedFrame) -> int | None:
    if row.is_edited:
        return search.SOURCE_PERSON
    if row.local_description is not None:
        return search.SOURCE_DEEP
    return search.SOURCE_QUICK if row.quick_description is not None else None


def _paged(
    engine: Engine, read: Callable[[Connection, Key], list[Row]], key: Callable[[Row], Key], first: Key
) -> Iterator[Row]:
    """All rows, one page per transaction, so that none is open while the caller works on a page."""
    after = first
    while True:
        with reading(engine) as connection:
            rows = read(connection, after)
        if not rows:
            return
        yield from rows
        after = key(rows[-1])
