"""What a person writes: corrections, approvals, tags, a video's title and its context.

What the model said stays beside it. Every function takes part in its caller's transaction; `now` is an argument.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

from db import documents
from db.models import Frame, Video


def edit_frame(
    connection: Connection, frame_id: int, *, description: str | None, tags: Sequence[str] | None, now: datetime
) -> None:
    """Save what a person wrote about a frame; what the model said stays beside it. None leaves a part as it is."""
    values: dict[str, Any] = {"edited_at": now}
    if description is not None:
        values["edited_description"] = description
    if tags is not None:
        values["edited_tags"] = list(tags)
    is_there = connection.execute(update(Frame).where(Frame.id == frame_id).values(**values)).rowcount
    if is_there:
        documents.put_person(connection, frame_id, text=description, tags=tags)


def restore_frame(connection: Connection, frame_id: int) -> None:
    """Forget what a person wrote about a frame: what the model said is shown and found again."""
    nothing = {"edited_description": None, "edited_tags": None, "edited_at": None}
    connection.execute(update(Frame).where(Frame.id == frame_id).values(**nothing))
    documents.take_back(connection, frame_id)


def approve_frame(connection: Connection, frame_id: int, *, is_approved: bool, now: datetime) -> None:
    """Note that a person has looked at a frame and found it right, or take that back."""
    reviewed_at = now if is_approved else None
    connection.execute(update(Frame).where(Frame.id == frame_id).values(reviewed_at=reviewed_at))


def tag_range(connection: Connection, video_id: int, start: float, end: float, tag: str, *, now: datetime) -> int:
    """Put a tag on every kept frame of a video from `start` to `end` (seconds) that has not got it; how many."""
    statement = (
        select(Frame.id, Frame.edited_tags, Frame.local_tags, Frame.quick_tags)
        .where(Frame.video_id == video_id, Frame.timestamp >= start, Frame.timestamp <= end)
        .order_by(Frame.timestamp)
    )
    tagged = 0
    for row in connection.execute(statement).all():
        said: list[list[str] | None] = [row.edited_tags, row.local_tags, row.quick_tags]
        best = next((tags for tags in said if tags is not None), [])
        if tag not in best:
            edit_frame(connection, row.id, description=None, tags=[*best, tag], now=now)
            tagged += 1
    return tagged


def set_context(connection: Connection, video_id: int, context: str) -> None:
    """Save what the models are told of a video; frames described from now on are described with it."""
    connection.execute(update(Video).where(Video.id == video_id).values(context=context))


def rename_video(connection: Connection, video_id: int, title: str) -> None:
    """Give a video another title; its file keeps its name."""
    connection.execute(update(Video).where(Video.id == video_id).values(title=title))
