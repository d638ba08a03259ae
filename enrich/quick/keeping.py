"""Keeping what a quick look said: the answers in the frames' rows and in the search, every call with its price."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from db import batches, quick
from db.queries import FrameRow
from enrich.describe.baseline import LIVELY
from enrich.describe.describer import Answer, Description, Problem
from enrich.describe.events import OTHER
from enrich.describe.quick.protocol import THRILLING, Answered
from enrich.library.records import booked, findable


def keep(
    connection: Connection, answers: Sequence[Answered], frames: Mapping[int, FrameRow], *, now: datetime
) -> dict[str, str]:
    """Keep the answers of one request; by label, the reasons of those without one.

    `frames` are needed only where a describer measures. A frame that is gone keeps its price.
    """
    problems = {}
    for answered in answers:
        frame_id = batches.frame_of(answered.label)
        said = answered.answer
        answer = Answer(
            description=None if said is None else Description(said.description, said.tags),
            calls=answered.calls,
            kept=answered.kept or 0,
            unsure_names=_unsure(answered),
        )
        calls = booked(answer)
        if said is None or answer.description is None:
            problems[answered.label] = answered.problem or "there was no answer"
            owner = frame_id if quick.is_there(connection, frame_id) else None
            quick.book_looks(connection, owner, calls, now=now)
            continue
        found = findable(answer.description, answer.unsure_names)
        event = said.event_type or None
        frame = frames.get(frame_id)
        look = quick.NewLook(
            text=said.description,
            tags=said.tags,
            event_type=event,
            excitement=said.excitement if event is not None else movement_excitement(frame.motion if frame else None),
            search_text=found.text,
            search_tags=(*found.tags, *((event,) if event not in (None, OTHER, *found.tags) else ())),
        )
        if not quick.save_look(connection, frame_id, look, calls, now=now):
            quick.book_looks(connection, None, calls, now=now)
    return problems


def movement_excitement(motion: float | None) -> float | None:
    """How exciting a picture is, by how much moves in it alone, 0 to 10; None where that was not measured."""
    return None if motion is None else round(THRILLING * (1 - math.exp(-motion / LIVELY)), 1)


def _unsure(answered: Answered) -> tuple[str, ...]:
    """The names in the kept reply that no picture shows."""
    if answered.kept is None:
        return ()
    doubts = answered.calls[answered.kept].warnings
    return tuple(doubt.detail for doubt in doubts if doubt.problem is Problem.CONTEXT_NAME)
