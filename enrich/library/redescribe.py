"""A new description of one kept frame, because a person asked for it: with another model, or something more asked.

The frame's task is taken over in the transaction that saves the answer, so that it may be done beside a worker: should
that have the very frame in hand, its answer comes too late and is dropped. Until then, and if it fails, nothing has
changed. What a person wrote stays.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from db import checks, queries, queue, store
from db.engine import reading, writing
from db.queries import FrameRow, VideoRow
from db.quick import event_of
from enrich.describe.asking import ask
from enrich.describe.describer import Answer, Describer, Description, Image, MotionHint, Question
from enrich.describe.reply_checks import DIFFERENT_BITS
from enrich.errors import CallFailedError, DescribeError
from enrich.library.library import Library
from enrich.library.pictures import load_image
from enrich.library.records import call_records, searchable_text
from enrich.process import this_process


@dataclass(frozen=True, slots=True)
class Redescription:
    """What is said of the frame now; `seconds` for all calls that were made for it."""

    frame_id: int
    text: str
    tags: list[str]
    model: str
    seconds: float
    warnings: list[dict[str, str]]


async def redescribe(
    library: Library, describer: Describer, video: VideoRow, frame: FrameRow, *, request: str = ""
) -> Redescription:
    """Describe a kept frame and save it; the describer is closed. Hosts are tried in turn.

    Raises VideoError if its picture cannot be had, DescribeError if no host gives a description.
    """
    settings = library.settings
    picture = Image(load_image(settings, video, frame), frame.timestamp, MotionHint(motion=frame.motion))
    with reading(library.engine) as connection:
        event = event_of(connection, video_id=video.id, frame_id=frame.id) or ""
    question = Question((picture,), context=video.context, request=request, event=event, language=settings.language)
    last: DescribeError | None = None
    try:
        for host in describer.hosts:
            try:
                answer = await ask(
                    describer, question, host=host, same_text=lambda said: _is_anothers(library, describer, frame, said)
                )
            except DescribeError as error:
                last = error
                continue
            if answer.description is not None:
                return _save(library, describer, frame, answer, answer.description)
            _book(library, describer, frame, answer)
            last = CallFailedError(f"`{describer.model}` said nothing of this frame: try again, or another model")
    finally:
        await describer.close()
    raise last or CallFailedError("there is no host to ask")


def _is_anothers(library: Library, describer: Describer, frame: FrameRow, said: Description) -> bool:
    """Whether a frame of the video that looks different is described by this very text."""
    if not describer.can_err:
        return False
    ours = int(frame.dhash or "0", 16)
    with reading(library.engine) as connection:
        alike = checks.frames_with_text(connection, frame.video_id, said.text)
    return any(other != frame.id and (int(dhash, 16) ^ ours).bit_count() > DIFFERENT_BITS for other, dhash in alike)


def _save(library: Library, describer: Describer, frame: FrameRow, answer: Answer, said: Description) -> Redescription:
    found = searchable_text(said, answer.unsure_names)
    now = datetime.now(UTC)
    with writing(library.engine) as connection:
        if queries.frame(connection, frame.id) is None:
            raise CallFailedError("the frame was removed meanwhile")
        job = queue.take_over(
            connection,
            video_id=frame.video_id,
            frame_id=frame.id,
            pass_=describer.fills.value,
            host=this_process().hostname,
            now=now,
        )
        store.save_description(
            connection,
            job,
            store.NewDescription(said.text, said.tags, found.text, found.tags),
            analyses=call_records(answer),
            now=now,
            run_id=None,
        )
    return Redescription(
        frame_id=frame.id,
        text=said.text,
        tags=list(said.tags),
        model=describer.model,
        seconds=sum(call.latency_seconds for call in answer.calls),
        warnings=[{"problem": doubt.problem.value, "detail": doubt.detail} for doubt in answer.warnings],
    )


def _book(library: Library, describer: Describer, frame: FrameRow, answer: Answer) -> None:
    """Book the calls of an answer without words."""
    with writing(library.engine) as connection:
        store.record_calls(
            connection, frame.id, call_records(answer), pass_=describer.fills.value, now=datetime.now(UTC)
        )
