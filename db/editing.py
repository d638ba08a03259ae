"""What a person writes: corrections, approvals, tags, a video's title and its context.

What the model said stays beside it. Every function takes part in its caller's transaction; `now` is an argument.

What goes before the even order: what a person asked for, and what the worker has a reason to look at next.

Every function takes part in its caller's transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, case, func, select, update

from db import search
from db.models import Frame, Task, TaskKind, TaskStatus, Video


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
        search.write_person_text(connection, frame_id, text=description, tags=tags)


def restore_frame(connection: Connection, frame_id: int) -> None:
    """Forget what a person wrote about a frame: what the model said is shown and found again."""
    nothing = {"edited_description": None, "edited_tags": None, "edited_at": None}
    connection.execute(update(Frame).where(Frame.id == frame_id).values(**nothing))
    search.restore_model_text(connection, frame_id)


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


@dataclass(frozen=True, slots=True)
class PriorityRange:
    """The part of a video somebody wants described first, in seconds; None: from its start, to its end."""

    start: float | None = None
    end: float | None = None

    def covers(self, timestamp: float) -> bool:
        """Whether a moment belongs to it."""
        return (self.start is None or timestamp >= self.start) and (self.end is None or timestamp <= self.end)


def prioritize(connection: Connection, video_id: int, wish: PriorityRange, *, priority: int) -> int:
    """Have a part of a video described first; how many frames that are there already will be.

    If the video is not extracted yet, that is done first, and frames of that part go first as they come.
    """
    within = [Frame.video_id == video_id]
    if wish.start is not None:
        within.append(Frame.timestamp >= wish.start)
    if wish.end is not None:
        within.append(Frame.timestamp <= wish.end)
    unfinished = Task.status.in_((TaskStatus.TODO, TaskStatus.DOING))
    files = select(Task.id, Task.payload).where(
        Task.video_id == video_id, Task.kind.in_((TaskKind.SKIM, TaskKind.EXTRACT)), unfinished
    )
    for task in connection.execute(files).all():
        payload = {**(task.payload or {}), "wish": [wish.start, wish.end]}
        connection.execute(update(Task).where(Task.id == task.id).values(priority=priority, payload=payload))
    chosen = update(Task).where(
        Task.kind == TaskKind.DESCRIBE,
        Task.status == TaskStatus.TODO,
        Task.frame_id.in_(select(Frame.id).where(*within)),
    )
    done = connection.execute(chosen.values(priority=priority).execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", done).rowcount


def priority_range_of(connection: Connection, task_id: int) -> PriorityRange | None:
    """What somebody wished for of the video a task extracts or looks at."""
    payload = connection.scalar(select(Task.payload).where(Task.id == task_id)) or {}
    return PriorityRange(*payload["wish"]) if "wish" in payload else None


def prioritize_middle(
    connection: Connection, video_id: int, start: float, end: float, *, pass_: str, priority: int
) -> bool:
    """Have a waiting frame between two times (seconds) described next; whether there is one.

    Of those in the middle half, the one that stands for the fewest source frames; else the nearest to the middle.
    """
    from_middle = func.abs(Frame.timestamp - (start + end) / 2)
    is_central = from_middle <= (end - start) / 4
    chosen = (
        select(Task.id)
        .join(Frame, Frame.id == Task.frame_id)
        .where(Frame.video_id == video_id, Frame.timestamp > start, Frame.timestamp < end)
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_, Task.status == TaskStatus.TODO)
        .order_by(case((is_central, Frame.stands_for)).asc().nulls_last(), from_middle)
        .limit(1)
    )
    task_id = connection.scalar(chosen)
    if task_id is None:
        return False
    connection.execute(update(Task).where(Task.id == task_id, Task.priority < priority).values(priority=priority))
    return True
