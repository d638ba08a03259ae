"""What a quick pass over a film will ask: its key frames, those that were asked about before, and what it will cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from db import batches, queries, quick
from db.engine import reading, writing
from db.queries import FrameRow, VideoRow
from enrich.describe.quick.protocol import CostEstimate, Labelled, QuickDescriber
from enrich.keyframes.candidate import Candidate
from enrich.library.library import Library
from enrich.library.pictures import kept_jpeg
from enrich.quick.keyframes import choose


@dataclass(frozen=True, slots=True)
class QuickPlan:
    """One film. `wanted` are the pictures that will be asked about; the rest of its key frames need not be."""

    video: VideoRow
    frames: dict[int, FrameRow]  # the key frames, by id
    wanted: tuple[Labelled, ...]
    answered: int  # key frames with an answer of this very kind already
    unanswered: int  # that were asked about and paid for, and got none
    on_the_way: int  # in batches
    estimate: CostEstimate

    @property
    def title(self) -> str:
        return self.video.title


def make_plan(
    library: Library,
    describer: QuickDescriber,
    video: VideoRow,
    *,
    key_frames: int,
    again: bool = False,
    unanswered_too: bool = False,
    batch: bool = False,
) -> QuickPlan:
    """Choose a film's key frames, mark them, and say which are to be asked about.

    Key frames stay key frames, so that nothing is paid for twice because more of the film is decoded by now; with
    `again` they are chosen afresh, and all are asked about. `unanswered_too`: those that got no answer as well.
    Raises VideoError if a picture cannot be had.
    """
    frames = _key_frames(library, video, key_frames, afresh=again)
    with reading(library.engine) as connection:
        before = quick.asked(
            connection,
            frames,
            describer=describer.name,
            model=describer.model,
            prompt_version=describer.prompt_version,
        )
        sent = {
            frame_id
            for row in batches.open_batches(connection, [video.id])
            if (row.batch.model, row.batch.prompt_version) == (describer.model, describer.prompt_version)
            for frame_id in row.batch.frame_ids
        }
    if again:
        before = {}
    elif unanswered_too:
        before = {frame_id: has_answer for frame_id, has_answer in before.items() if has_answer}
    asking = [frame for frame in frames.values() if frame.id not in before and frame.id not in sent]
    wanted = tuple(
        Labelled(batches.label_of(frame.id), kept_jpeg(library.settings, video, frame), frame.timestamp)
        for frame in asking
    )
    return QuickPlan(
        video=video,
        frames=frames,
        wanted=wanted,
        answered=sum(before.values()),
        unanswered=len(before) - sum(before.values()),
        on_the_way=len(sent & frames.keys()),
        estimate=estimated(library, describer, video, wanted, batch=batch),
    )


def estimated(
    library: Library, describer: QuickDescriber, video: VideoRow, pictures: Sequence[Labelled], *, batch: bool
) -> CostEstimate:
    """What asking about these pictures will cost, by the formula."""
    from enrich.describe.claude.describer import ClaudeQuick

    context, language = video.context, library.settings.language
    if isinstance(describer, ClaudeQuick):
        return describer.estimate(pictures, context=context, language=language, batch=batch)
    return describer.estimate(pictures, context=context, language=language)


def _key_frames(library: Library, video: VideoRow, count: int, *, afresh: bool) -> dict[int, FrameRow]:
    with reading(library.engine) as connection:
        looks = quick.looks(connection, video.id)
        marked = () if afresh else quick.key_frame_ids(connection, video.id)
    candidates = [
        Candidate(
            id=look.id,
            timestamp=look.timestamp,
            scene=look.scene,
            sharpness=look.sharpness,
            brightness=look.brightness,
            dhash=int(look.dhash, 16) if look.dhash else None,
        )
        for look in looks
    ]
    chosen = choose(candidates, count, duration=video.duration, fixed=marked)
    with writing(library.engine) as connection:
        quick.set_key_frames(connection, video.id, chosen)
        rows = [queries.frame(connection, frame_id) for frame_id in chosen]
    return {row.id: row for row in rows if row is not None}
