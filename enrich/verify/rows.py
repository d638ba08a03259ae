"""What the database alone can say: the chain of frames, and what belongs to every description."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import Connection, Engine

from db import checks, counts, search, store
from db.checks import DescribedFrame, PlacedFrame, SourceCall
from db.engine import reading, writing
from db.models import ExtractionStatus, TaskStatus
from db.queries import VideoRow
from enrich.describe.baseline import BaselineDescriber
from enrich.describe.describer import Call, Description, Question
from enrich.describe.quick.local import stored_description
from enrich.describe.reply import read_reply
from enrich.verify.findings import FindingKind, FindingLog, place_of

NO_QUESTION = Question(())  # what is read in a reply does not depend on what was asked, only the doubts do
Row = TypeVar("Row")
Key = TypeVar("Key")


def placed_frames(engine: Engine, video_id: int) -> Iterator[PlacedFrame]:
    """All frames of a video that have an index, in its order."""
    return _paged(
        engine,
        lambda connection, after: checks.placed_frames(connection, video_id, after),
        lambda row: (row.index if row.index is not None else -1, row.id),
        checks.FIRST_PLACE,
    )


def described_frames(engine: Engine, video_id: int) -> Iterator[DescribedFrame]:
    """All frames of a video, with what is said of them."""
    return _paged(
        engine, lambda connection, after: checks.described_frames(connection, video_id, after), lambda row: row.id, 0
    )


def check_chain(engine: Engine, video: VideoRow, ledger: FindingLog) -> None:
    """Check that the kept frames stand for all source frames, one after the other, and that scenes do not go down."""
    expected, scene, covered = 0, 0, 0
    for row in placed_frames(engine, video.id):
        place = place_of(row.index, row.timestamp)
        if row.stands_for is None or row.scene is None:
            ledger.note(FindingKind.UNPLACED, video, place)
            continue
        if row.index != expected or row.stands_for < 1:
            ledger.note(FindingKind.CHAIN, video, f"{place}, where frame {expected} comes next")
        if row.scene < scene:
            ledger.note(FindingKind.SCENE, video, place)
        expected, scene = (row.index or 0) + row.stands_for, row.scene
        covered += row.stands_for
    if video.extraction_status is ExtractionStatus.EXTRACTED:
        with reading(engine) as connection:
            loose = checks.unplaced_frames(connection, video.id)
        for row in loose:
            ledger.note(FindingKind.UNPLACED, video, place_of(None, row.timestamp))
        if covered != video.frame_count:
            ledger.note(FindingKind.COUNT, video, f"the kept frames stand for {covered} of {video.frame_count}")


def check_state(engine: Engine, video: VideoRow, ledger: FindingLog) -> None:
    """Check that a video's states are those of its tasks."""
    with reading(engine) as connection:
        due = store.enrichment_due(connection, video.id)
        extraction = checks.extraction_task_status(connection, video.id)
    if due is not None and due is not video.enrichment_status:
        ledger.note(FindingKind.STATUS, video, f"enrichment {video.enrichment_status}, its tasks say {due}")
    if (extraction == TaskStatus.DONE) != (video.extraction_status is ExtractionStatus.EXTRACTED):
        ledger.note(
            FindingKind.STATUS, video, f"extraction {video.extraction_status}, its task is {extraction or 'missing'}"
        )


def check_tally(engine: Engine, video: VideoRow, ledger: FindingLog, *, mend: bool) -> None:
    """Check that a video's tally says what its rows say; to mend it, they are counted under the write lock."""
    with reading(engine) as connection:
        kept, true = counts.stored_counts(connection, video.id), counts.actual_counts(connection, video.id)
    if kept == true:
        return
    if mend:
        with writing(engine) as connection:
            counts.recount(connection, video.id)
    ledger.note(FindingKind.TALLY, video, f"{kept or 'none'}; its rows say {true}", mended=mend)


def check_words(engine: Engine, video: VideoRow, ledger: FindingLog) -> None:
    """Check that each description has a done task, the reply that says it, and a search document."""
    for row in described_frames(engine, video.id):
        place = place_of(row.index, row.timestamp)
        _check_pass(video, ledger, place, row.local_description, row.local_tags, row.deep_status, row.deep)
        if row.quick is None or row.quick.describer == BaselineDescriber.name:
            status = row.quick_status if row.quick_description is None else TaskStatus.DONE  # a look needs no task
            _check_pass(video, ledger, place, row.quick_description, None, status, row.quick)
        else:
            _check_look(video, ledger, place, row)
        best = _best_source(row)
        if best is None and row.source is not None:
            ledger.note(FindingKind.DOCUMENT_EXTRA, video, place)
        elif best is not None and row.source is None:
            ledger.note(FindingKind.DOCUMENT_MISSING, video, place)
        elif best != row.source:
            ledger.note(FindingKind.DOCUMENT_EXTRA, video, f"{place}, known by another text than its best")


def source_of(saying: SourceCall) -> Description | None:
    """The description in a stored reply, read as it was read then."""
    call = Call(
        describer=saying.describer,
        model=saying.model,
        model_digest=saying.model_digest,
        host="",
        prompt_version=saying.prompt_version,
        latency_seconds=0.0,
        raw_reply=saying.raw_reply or "",
    )
    if saying.describer == BaselineDescriber.name:
        return BaselineDescriber().read(NO_QUESTION, call)[0]
    return read_reply(NO_QUESTION, call)[0]


def _check_pass(
    video: VideoRow,
    ledger: FindingLog,
    place: str,
    text: str | None,
    tags: list[str] | None,
    status: str | None,
    saying: SourceCall | None,
) -> None:
    if text is None:
        if status == TaskStatus.DONE:
            ledger.note(FindingKind.UNSAID, video, place)
        return
    if status != TaskStatus.DONE:
        ledger.note(FindingKind.TASK, video, f"{place}, its task is {status or 'missing'}")
    said = source_of(saying) if saying is not None and saying.raw_reply else None
    if said is None:
        ledger.note(FindingKind.REPLY, video, place)
    elif said.text != text or (tags is not None and list(said.tags) != tags):
        ledger.note(FindingKind.TEXT, video, place)


def _check_look(video: VideoRow, ledger: FindingLog, place: str, row: DescribedFrame) -> None:
    """Check that what a model said at a quick look is in its reply; such a look needs no task."""
    raw = row.quick.raw_reply if row.quick is not None else None
    said = stored_description(raw) if raw else None
    if said is None:
        ledger.note(FindingKind.REPLY, video, place)
    elif said != row.quick_description:
        ledger.note(FindingKind.TEXT, video, place)


def _best_source(row: DescribedFrame) -> int | None:
    if row.is_edited:
        return search.SOURCE_PERSON
    if row.local_description is not None:
        return search.SOURCE_DEEP
    return search.SOURCE_QUICK if row.quick_description is not None else None


def _paged(
    engine: Engine, read: Callable[[Connection, Key], list[Row]], key: Callable[[Row], Key], first: Key
) -> Iterator[Row]:
    """All rows, a page a transaction: none is held open while somebody works on them."""
    after = first
    while True:
        with reading(engine) as connection:
            rows = read(connection, after)
        if not rows:
            return
        yield from rows
        after = key(rows[-1])
