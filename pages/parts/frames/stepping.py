"""Going through a film: from kept frame to kept frame, frame by frame, or to a moment that is typed.

Buttons and keys do the same: the arrow keys step over kept frames, with Shift over every frame of the film. While
something is typed into a field, the keys belong to the field.

Source frames decoded ahead: the command line decodes a block of neighbours at a time, in a process of its own.

Shared by all tabs. A step within a block, or into one that was decoded ahead, waits for nothing; any other waits for
one command. What went wrong is never remembered: the next step asks again. It cannot know when a decoded picture is
deleted from outside; `look` finds out and has it made again.
"""

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import streamlit as st

from db import gallery, queries
from db.queries import FrameRow, VideoRow
from enrich.jobs.command import CommandResult, run_command
from enrich.library.media import strip_file
from enrich.settings import Settings
from enrich.wording import clock
from pages.parts.frames.timeline import timeline
from pages.parts.frames.video import Outline, way_back
from pages.parts.plain import plain
from pages.parts.session import reading
from pages.parts.view import HAIR_SECONDS, View, go, moment_in

BLOCK = 24  # source frames that are decoded in one go
NEAR_EDGE = 8  # a frame so close to a block's edge has the next block decoded ahead
BLOCKS_KEPT = 64
DECODERS = 2  # commands at once: what is looked at need not wait for what is only ahead
STRIP_SECONDS = 90.0  # the limit of one command
JUMP = "jump-to"


class StripError(Exception):
    """A source frame cannot be shown; the text says why, and may hold a file's name."""


@dataclass(frozen=True, slots=True)
class SteppedFrame:
    """Any frame of a film. `kept_frame_id` stands for it, and is so alike (0 to 1); None: not known yet."""

    index: int
    timestamp: float
    kept_frame_id: int | None
    likeness: float | None


@dataclass(frozen=True, slots=True)
class _StripBlock:
    """A stretch of a film as it was decoded. `kept`: how many kept frames there were to stand for its frames."""

    library: str
    video_id: int
    fingerprint: str
    kept: int
    number: int


class Strips:
    """The blocks that are decoded, or being decoded."""

    def __init__(self) -> None:
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="strip")
        self._blocks: OrderedDict[_StripBlock, Future[CommandResult]] = OrderedDict()
        self._lock = Lock()

    def look(self, settings: Settings, video: VideoRow, index: int) -> SteppedFrame:
        """A source frame, its picture on disk; its neighbours are decoded ahead. Raises StripError."""
        frames = self._frames(settings, video, index)
        if index in frames and strip_file(settings, video.id, index) is None:
            self._forget(settings, video, index)
            frames = self._frames(settings, video, index)
        if index not in frames:
            raise StripError(f"The film has no frame {index}.")
        for near in (index + NEAR_EDGE, index - NEAR_EDGE):
            if near >= 0 and near // BLOCK != index // BLOCK and (near < index or _has(video, near)):
                self._begin(settings, video, near // BLOCK * BLOCK if near > index else near)
        return frames[index]

    def ahead(self, settings: Settings, video: VideoRow, index: int) -> None:
        """Have a frame and its neighbours decoded, without waiting for it."""
        if index >= 0 and _has(video, index):
            self._begin(settings, video, index)

    def _frames(self, settings: Settings, video: VideoRow, index: int) -> dict[int, SteppedFrame]:
        outcome = self._begin(settings, video, index).result()
        if outcome.code != 0 or not isinstance(outcome.data, dict):
            self._forget(settings, video, index)
            raise StripError(outcome.error or f"Frame {index} could not be decoded.")
        return {
            frame["index"]: SteppedFrame(frame["index"], frame["timestamp"], frame["kept_frame_id"], frame["likeness"])
            for frame in outcome.data["frames"]
        }

    def _begin(self, settings: Settings, video: VideoRow, index: int) -> "Future[CommandResult]":
        block = _block(settings, video, index)
        first, last = block.number * BLOCK, (block.number + 1) * BLOCK - 1
        words = ("strip", str(video.id), "--frame", str(index), "--before", str(index - first))
        with self._lock:
            known = self._blocks.get(block)
            if known is not None and not (known.done() and known.result().code != 0):
                self._blocks.move_to_end(block)
                return known
            begun = self._decoders.submit(
                run_command, settings, *words, "--after", str(last - index), seconds=STRIP_SECONDS
            )
            self._blocks[block] = begun
            while len(self._blocks) > BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return begun

    def _forget(self, settings: Settings, video: VideoRow, index: int) -> None:
        with self._lock:
            self._blocks.pop(_block(settings, video, index), None)


@st.cache_resource
def strips() -> Strips:
    """The blocks of this dashboard."""
    return Strips()


def last_index(video: VideoRow) -> int | None:
    """The number of a film's last source frame, None until it is decoded to its end."""
    is_counted = video.extraction_status == "extracted" and video.frame_count is not None
    return (video.frame_count or 0) - 1 if is_counted else None


def _has(video: VideoRow, index: int) -> bool:
    last = last_index(video)
    return last is None or index <= last


def _block(settings: Settings, video: VideoRow, index: int) -> _StripBlock:
    return _StripBlock(settings.url, video.id, video.fingerprint, video.kept, index // BLOCK)


@dataclass(frozen=True, slots=True)
class Steps:
    """Where the buttons lead; None where there is nothing."""

    kept_before: View | None
    kept_after: View | None
    frame_before: View | None
    frame_after: View | None


def steps(video: VideoRow, view: View, *, timestamp: float | None, index: int | None) -> Steps:
    """The neighbours of a moment of the film; kept ones with the filters of the view."""
    before = after = None
    if timestamp is not None:
        with reading() as connection:
            before, after = gallery.neighbours(connection, video.id, timestamp, show=view.show, tag=view.tag)
    last = last_index(video)
    has_next = index is not None and (last is None or index < last)
    return Steps(
        kept_before=view.kept(before) if before is not None else None,
        kept_after=view.kept(after) if after is not None else None,
        frame_before=view.nth(index - 1) if index else None,
        frame_after=view.nth(index + 1) if index is not None and has_next else None,
    )


def walk(video: VideoRow, view: View, outline: Outline, *, timestamp: float, index: int | None) -> None:
    """All ways on from a frame: the timeline, back to the gallery, the steps, and a moment to be typed."""
    timeline(video, outline, at=(timestamp, timestamp), jump=lambda seconds: to_frame_at(video, view, seconds))
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        way_back(view, timestamp)
        step_buttons(steps(video, view, timestamp=timestamp, index=index))
        jump_field(video, lambda seconds: to_frame_at(video, view, seconds))


def step_buttons(found: Steps) -> None:
    """The four steps, as buttons and as keys."""
    _button("Previous picture", found.kept_before, "Left", "the kept picture before this one")
    _button("Next picture", found.kept_after, "Right", "the next kept picture")
    _button("1 frame back", found.frame_before, "Shift+Left", "one frame of the film back, kept or not")
    _button("1 frame on", found.frame_after, "Shift+Right", "one frame of the film on, kept or not")


def jump_field(video: VideoRow, jump: Callable[[float], None]) -> None:
    """A field for a moment of the film: 12:30, 1:02:03.5 or seconds."""
    st.text_input(
        "Go to",
        key=JUMP,
        placeholder="12:30",
        width=130,
        help="A moment of the film: 12:30, 1:02:03.5, or seconds. Press Enter.",
        on_change=_jump_typed,
        args=(video, jump),
    )


def to_frame_at(video: VideoRow, view: View, seconds: float) -> None:
    """Show the kept frame of a moment, or the very frame where each is gone through. For callbacks."""
    with reading() as connection:
        kept = queries.frame_at(connection, video.id, seconds)
    if kept is None:
        return
    if view.source is not None and (index := _index_at(video, kept, seconds)) is not None:
        go(view.nth(index))
    else:
        go(view.kept(kept.id))


def to_page_at(video: VideoRow, view: View, seconds: float) -> None:
    """Turn to the gallery's page that begins with the frame of a moment. For callbacks."""
    with reading() as connection:
        first = gallery.cards(
            connection, video.id, show=view.show, tag=view.tag, before=seconds + HAIR_SECONDS, limit=1
        )
    go(view.gallery(after=first[0].timestamp - HAIR_SECONDS if first else None))


def _index_at(video: VideoRow, kept: FrameRow, seconds: float) -> int | None:
    """The number of the frame at a moment, as the film's rate has it, among those the kept frame stands for."""
    if kept.index is None or not video.fps:
        return None
    on = int((seconds - kept.timestamp) * video.fps + HAIR_SECONDS)
    return kept.index + min(max(on, 0), (kept.stands_for or 1) - 1)


def _jump_typed(video: VideoRow, jump: Callable[[float], None]) -> None:
    typed = str(st.session_state.get(JUMP) or "")
    if not typed.strip():
        return
    seconds = moment_in(typed)
    if seconds is None:
        st.toast(f"“{plain(typed, 40)}” is no moment of a film: type it as 12:30, 1:02:03 or in seconds.")
        return
    st.session_state[JUMP] = ""
    if video.duration is not None and seconds > video.duration:
        st.toast(f"The film is {plain(clock(video.duration))} long: this is its end.")
    jump(seconds)


def _button(label: str, view: View | None, key: str, what: str) -> None:
    st.button(
        label,
        key=f"step-{key}",
        shortcut=key,
        disabled=view is None,
        help=f"To {what}",
        on_click=go,
        args=(view if view is not None else View(),),
    )
