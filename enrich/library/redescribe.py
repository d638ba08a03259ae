"""Re-describe one kept frame on request, with another model or an additional question.

The frame's task is taken over in the transaction that saves the answer. So a worker may run at the same time: if it is
describing the same frame, its answer comes too late and is dropped. Until then, and if it fails, nothing changes. Text
written by a person is kept.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import checks, queries, queue, store
from db.engine import reading, writing
from db.queries import FrameRow, VideoRow
from db.quick import event_of
from enrich.describe.asking import ask_hosts_in_turn
from enrich.describe.describer import Answer, Describer, Description, Image, MotionHint, Question
from enrich.describe.reply_checks import DIFFERENT_BITS
from enrich.errors import CallFailedError
from enrich.library.images import load_image
from enrich.library.library import Library
from enrich.library.records import call_records, searchable_text
from enrich.process import this_process


@dataclass(frozen=True, slots=True)
class Redescription:
    """The frame's new description; `seconds` is the latency of all calls made for it."""

    frame_id: int
    text: str
    tags: list[str]
    model: str
    seconds: float
    warnings: list[dict[str, str]]


async def redescribe(
    library: Library, describer: Describer, video: VideoRow, frame: FrameRow, *, request: str = ""
) -> Redescription:
    """Describe a kept frame, save the description and close the describer. Hosts are tried in turn.

    Raises VideoError if the image cannot be loaded, DescribeError if no host gives a description.
    """
    settings = library.settings
    image = Image(load_image(settings, video, frame), frame.timestamp, MotionHint(motion=frame.motion))
    with reading(library.engine) as connection:
        event = event_of(connection, video_id=video.id, frame_id=frame.id) or ""
    question = Question((image,), context=video.context, request=request, event=event, language=settings.language)
    try:
        answer, description = await ask_hosts_in_turn(
            describer,
            question,
            same_text=lambda said: _is_text_of_another(library, describer, frame, said),
            on_empty=lambda answer: _record(library, describer, frame, answer),
        )
    finally:
        await describer.close()
    return _save(library, describer, frame, answer, description)


def _is_text_of_another(library: Library, describer: Describer, frame: FrameRow, description: Description) -> bool:
    """Whether another frame of the video, which looks different, has the same text (duplicate-text check)."""
    if not describer.is_model:
        return False
    own_hash = int(frame.dhash or "0", 16)
    with reading(library.engine) as connection:
        others = checks.frames_with_text(connection, frame.video_id, description.text)
    return any(
        other != frame.id and (int(dhash, 16) ^ own_hash).bit_count() > DIFFERENT_BITS for other, dhash in others
    )


def _save(
    library: Library, describer: Describer, frame: FrameRow, answer: Answer, description: Description
) -> Redescription:
    now = datetime.now(UTC)
    with writing(library.engine) as connection:
        is_removed = queries.frame(connection, frame.id) is None
        if is_removed:
            store.record_calls(connection, frame.id, call_records(answer), pass_=describer.target_pass.value, now=now)
        else:
            _save_description(connection, describer, frame, answer, description, now=now)
    if is_removed:
        raise CallFailedError("the frame was removed in the meantime, so its description was not saved")
    return Redescription(
        frame_id=frame.id,
        text=description.text,
        tags=list(description.tags),
        model=describer.model,
        seconds=sum(call.latency_seconds for call in answer.calls),
        warnings=[{"problem": warning.problem.value, "detail": warning.detail} for warning in answer.warnings],
    )


def _save_description(
    connection: Connection,
    describer: Describer,
    frame: FrameRow,
    answer: Answer,
    description: Description,
    *,
    now: datetime,
) -> None:
    searchable = searchable_text(description, answer.unverified_names)
    task = queue.take_over(
        connection,
        video_id=frame.video_id,
        frame_id=frame.id,
        pass_=describer.target_pass.value,
        host=str(this_process()),
        now=now,
    )
    store.save_description(
        connection,
        task,
        store.NewDescription(description.text, description.tags, searchable.text, searchable.tags),
        analyses=call_records(answer),
        now=now,
        run_id=None,
    )


def _record(library: Library, describer: Describer, frame: FrameRow, answer: Answer) -> None:
    """Record the calls of an answer without a description."""
    with writing(library.engine) as connection:
        store.record_calls(
            connection, frame.id, call_records(answer), pass_=describer.target_pass.value, now=datetime.now(UTC)
        )
