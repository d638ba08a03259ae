"""What a person changes: corrections, approvals, tags, titles, contexts, and which frames are described first.

A correction is stored beside the model's text and never replaces it. Every function runs in its caller's transaction;
`now` is an argument.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, case, func, select, update

from db import search
from db.models import Frame, Task, TaskKind, TaskStatus, Video

REQUEST_PRIORITY = 2_000_000_000  # above the priorities of enrich.schedule.coverage: a person asked for it
RANGE_KEY = "wish"  # of a task's payload: the start and the end of its priority range


@dataclass(frozen=True, slots=True)
class PriorityRange:
    """The part of a video to describe first, in seconds; None: from the start, to the end."""

    start: float | None = None
    end: float | None = None

    def covers(self, timestamp: float) -> bool:
        """Whether a timestamp (seconds) is in the range."""
        return (self.start is None or timestamp >= self.start) and (self.end is None or timestamp <= self.end)


def edit_frame(
    connection: Connection, frame_id: int, *, description: str | None, tags: Sequence[str] | None, now: datetime
) -> None:
    """Save a person's description and tags of a frame, beside those of the model. None leaves a part unchanged."""
    values: dict[str, Any] = {"edited_at": now}
    if description is not None:
        values["edited_description"] = description
    if tags is not None:
        values["edited_tags"] = list(tags)
    is_found = connection.execute(update(Frame).where(Frame.id == frame_id).values(**values)).rowcount
    if is_found:
        search.write_person_text(connection, frame_id, text=description, tags=tags)


def restore_frame(connection: Connection, frame_id: int) -> None:
    """Delete a person's text of a frame: the model's text is shown and searched again."""
    nothing = {"edited_description": None, "edited_tags": None, "edited_at": None}
    connection.execute(update(Frame).where(Frame.id == frame_id).values(**nothing))
    search.restore_model_text(connection, frame_id)


def approve_frame(connection: Connection, frame_id: int, *, is_approved: bool, now: datetime) -> None:
    """Record that a person approved a frame, or take the approval back."""
    reviewed_at = now if is_approved else None
    connection.execute(update(Frame).where(Frame.id == frame_id).values(reviewed_at=reviewed_at))


def tag_range(connection: Connection, video_id: int, start: float, end: float, tag: str, *, now: datetime) -> int:
    """Add a tag to every kept frame of a video from `start` to `end` (seconds) that lacks it. Returns how many."""
    statement = (
        select(Frame.id, Frame.edited_tags, Frame.local_tags, Frame.quick_tags)
        .where(Frame.video_id == video_id, Frame.timestamp >= start, Frame.timestamp <= end)
        .order_by(Frame.timestamp)
    )
    tagged = 0
    for row in connection.execute(statement).all():
        by_source: list[list[str] | None] = [row.edited_tags, row.local_tags, row.quick_tags]
        best = next((tags for tags in by_source if tags is not None), [])
        if tag not in best:
            edit_frame(connection, row.id, description=None, tags=[*best, tag], now=now)
            tagged += 1
    return tagged


def set_context(connection: Connection, video_id: int, context: str) -> None:
    """Set the context of a video, which is part of the prompt for frames described from now on."""
    connection.execute(update(Video).where(Video.id == video_id).values(context=context))


def rename_video(connection: Connection, video_id: int, title: str) -> None:
    """Change the title of a video; its file keeps its name."""
    title = unicodedata.normalize("NFC", title)
    connection.execute(update(Video).where(Video.id == video_id).values(title=title))


def prioritize(
    connection: Connection, video_id: int, wanted: PriorityRange, *, priority: int = REQUEST_PRIORITY
) -> int:
    """Have a part of a video described first. Returns how many of its kept frames are waiting for it.

    If the video is not extracted yet, it is extracted next, and frames in the range get the priority as they are found.
    """
    within = [Frame.video_id == video_id]
    if wanted.start is not None:
        within.append(Frame.timestamp >= wanted.start)
    if wanted.end is not None:
        within.append(Frame.timestamp <= wanted.end)
    unfinished = Task.status.in_((TaskStatus.TODO, TaskStatus.DOING))
    file_tasks = select(Task.id, Task.payload).where(
        Task.video_id == video_id, Task.kind.in_((TaskKind.SKIM, TaskKind.EXTRACT)), unfinished
    )
    for task in connection.execute(file_tasks).all():
        payload = {**(task.payload or {}), RANGE_KEY: [wanted.start, wanted.end]}
        connection.execute(update(Task).where(Task.id == task.id).values(priority=priority, payload=payload))
    describe_tasks = update(Task).where(
        Task.kind == TaskKind.DESCRIBE,
        Task.status == TaskStatus.TODO,
        Task.frame_id.in_(select(Frame.id).where(*within)),
    )
    changed = connection.execute(describe_tasks.values(priority=priority).execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", changed).rowcount


def priority_range_of(connection: Connection, task_id: int) -> PriorityRange | None:
    """The priority range of the video that a task skims or extracts, None if there is none."""
    payload = connection.scalar(select(Task.payload).where(Task.id == task_id)) or {}
    return PriorityRange(*payload[RANGE_KEY]) if RANGE_KEY in payload else None


def prioritize_middle(
    connection: Connection, video_id: int, start: float, end: float, *, pass_: str, priority: int
) -> bool:
    """Raise the priority of one waiting frame between two timestamps (seconds). Returns whether there is one.

    The frame of the middle half that stands for the fewest source frames, else the frame nearest to the middle.
    """
    distance = func.abs(Frame.timestamp - (start + end) / 2)
    is_central = distance <= (end - start) / 4
    best = (
        select(Task.id)
        .join(Frame, Frame.id == Task.frame_id)
        .where(Frame.video_id == video_id, Frame.timestamp > start, Frame.timestamp < end)
        .where(Task.kind == TaskKind.DESCRIBE, Task.pass_ == pass_, Task.status == TaskStatus.TODO)
        .order_by(case((is_central, Frame.stands_for)).asc().nulls_last(), distance)
        .limit(1)
    )
    task_id = connection.scalar(best)
    if task_id is None:
        return False
    connection.execute(update(Task).where(Task.id == task_id, Task.priority < priority).values(priority=priority))
    return True
