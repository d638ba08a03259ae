"""Navigation within a video: to the neighbouring kept frames, frame by frame, or to a typed time.

Buttons and keys do the same: the arrow keys move between kept frames, with Shift between source frames. While a text
field has the focus, keys go to that field.

Source frames are decoded in blocks by the `strip` command, in its own process, and cached for all tabs. A step within
a decoded block returns at once; any other step waits for one command. Neighbouring blocks are prefetched. Errors are
not cached, so the next step retries. If a decoded image was deleted from disk, `frame` notices and decodes it again.
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
from enrich.wording import format_timestamp, markdown_text
from pages.parts.frames.timeline import draw_timeline
from pages.parts.frames.video import Outline, link_to_gallery
from pages.parts.session import reading
from pages.parts.view import EPSILON_SECONDS, View, go_to, parse_time

BLOCK_FRAMES = 24  # source frames decoded by one command
PREFETCH_DISTANCE = 8  # frames; a neighbouring block this close is prefetched
CACHED_BLOCKS = 64
DECODERS = 2  # commands in parallel, so that a requested block does not wait for a prefetch
STRIP_TIMEOUT_SECONDS = 90.0
JUMP = "jump-to"
TYPED_CHARACTERS = 40  # of an invalid input, quoted in the message


class StripError(Exception):
    """A source frame cannot be shown; the message says why and may contain a file name."""


@dataclass(frozen=True, slots=True)
class SteppedFrame:
    """A source frame. `kept_frame_id`: the kept frame that stands for it; `likeness` to it, 0 to 1; None: not known."""

    index: int
    timestamp: float
    kept_frame_id: int | None
    likeness: float | None


@dataclass(frozen=True, slots=True)
class _StripBlock:
    """Cache key of a block. `kept`: kept frames at the time of decoding; new ones change which stand for others."""

    library: str
    video_id: int
    fingerprint: str
    kept: int
    number: int


class StripCache:
    """Blocks of source frames, decoded or being decoded, by the least recently used. Thread-safe."""

    def __init__(self) -> None:
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="everyframe-strip")
        self._blocks: OrderedDict[_StripBlock, Future[CommandResult]] = OrderedDict()
        self._lock = Lock()

    def frame(self, settings: Settings, video: VideoRow, index: int) -> SteppedFrame:
        """A source frame whose image is on disk; waits for its block and prefetches neighbours. Raises StripError."""
        frames = self._decoded_block(settings, video, index)
        if index in frames and strip_file(settings, video.id, index) is None:
            self._forget(settings, video, index)
            frames = self._decoded_block(settings, video, index)
        if index not in frames:
            raise StripError(f"The video has no frame {index}.")
        for near in (index + PREFETCH_DISTANCE, index - PREFETCH_DISTANCE):
            is_other_block = near >= 0 and near // BLOCK_FRAMES != index // BLOCK_FRAMES
            if is_other_block and (near < index or _has_frame(video, near)):
                self._submit(settings, video, near // BLOCK_FRAMES * BLOCK_FRAMES if near > index else near)
        return frames[index]

    def prefetch(self, settings: Settings, video: VideoRow, index: int) -> None:
        """Start decoding the block of a source frame without waiting for it."""
        if index >= 0 and _has_frame(video, index):
            self._submit(settings, video, index)

    def close(self) -> None:
        """Drop the blocks not yet begun and wait for those being decoded. No thread is left afterwards."""
        self._decoders.shutdown(cancel_futures=True)

    def _decoded_block(self, settings: Settings, video: VideoRow, index: int) -> dict[int, SteppedFrame]:
        outcome = self._submit(settings, video, index).result()
        if outcome.code != 0 or not isinstance(outcome.data, dict):
            self._forget(settings, video, index)
            raise StripError(outcome.error or f"Frame {index} could not be decoded.")
        return {
            frame["index"]: SteppedFrame(frame["index"], frame["timestamp"], frame["kept_frame_id"], frame["likeness"])
            for frame in outcome.data["frames"]
        }

    def _submit(self, settings: Settings, video: VideoRow, index: int) -> "Future[CommandResult]":
        block = _block_of(settings, video, index)
        first, last = block.number * BLOCK_FRAMES, (block.number + 1) * BLOCK_FRAMES - 1
        words = ("strip", str(video.id), "--frame", str(index), "--before", str(index - first))
        with self._lock:
            cached = self._blocks.get(block)
            if cached is not None and not (cached.done() and cached.result().code != 0):
                self._blocks.move_to_end(block)
                return cached
            future = self._decoders.submit(
                run_command, settings, *words, "--after", str(last - index), seconds=STRIP_TIMEOUT_SECONDS
            )
            self._blocks[block] = future
            while len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return future

    def _forget(self, settings: Settings, video: VideoRow, index: int) -> None:
        with self._lock:
            self._blocks.pop(_block_of(settings, video, index), None)


@st.cache_resource(on_release=StripCache.close)
def strip_cache() -> StripCache:
    """The dashboard's only strip cache."""
    return StripCache()


def last_index(video: VideoRow) -> int | None:
    """The index of a video's last source frame, None until the video is extracted."""
    is_known = video.extraction_status == "extracted" and video.frame_count is not None
    return (video.frame_count or 0) - 1 if is_known else None


def _has_frame(video: VideoRow, index: int) -> bool:
    last = last_index(video)
    return last is None or index <= last


def _block_of(settings: Settings, video: VideoRow, index: int) -> _StripBlock:
    return _StripBlock(settings.url, video.id, video.fingerprint, video.kept, index // BLOCK_FRAMES)


@dataclass(frozen=True, slots=True)
class Steps:
    """Targets of the step buttons; None disables a button."""

    previous_kept: View | None
    next_kept: View | None
    previous_source: View | None
    next_source: View | None


def steps_from(video: VideoRow, view: View, *, timestamp: float | None, index: int | None) -> Steps:
    """The neighbours of a frame. Kept ones match the filters of the view."""
    before = after = None
    if timestamp is not None:
        with reading() as connection:
            before, after = gallery.neighbours(connection, video.id, timestamp, show=view.show, tag=view.tag)
    last = last_index(video)
    has_next = index is not None and (last is None or index < last)
    return Steps(
        previous_kept=view.kept_frame(before) if before is not None else None,
        next_kept=view.kept_frame(after) if after is not None else None,
        previous_source=view.source_frame(index - 1) if index else None,
        next_source=view.source_frame(index + 1) if index is not None and has_next else None,
    )


def draw_navigation(video: VideoRow, view: View, outline: Outline, *, timestamp: float, index: int | None) -> None:
    """Draw the timeline, the link to the gallery, the step buttons and the "Go to" field."""
    draw_timeline(
        video, outline, position=(timestamp, timestamp), jump=lambda seconds: go_to_frame_at(video, view, seconds)
    )
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        link_to_gallery(view, timestamp)
        draw_step_buttons(steps_from(video, view, timestamp=timestamp, index=index))
        draw_jump_field(video, lambda seconds: go_to_frame_at(video, view, seconds))


def draw_step_buttons(steps: Steps) -> None:
    """Draw the four step buttons with their keyboard shortcuts."""
    _step_button("Previous frame", steps.previous_kept, "Left", "Previous kept frame")
    _step_button("Next frame", steps.next_kept, "Right", "Next kept frame")
    _step_button("1 frame back", steps.previous_source, "Shift+Left", "One source frame back, kept or not")
    _step_button("1 frame forward", steps.next_source, "Shift+Right", "One source frame forward, kept or not")


def draw_jump_field(video: VideoRow, jump: Callable[[float], None]) -> None:
    """Draw the "Go to" field. `jump` is called with the typed time in seconds, in a Streamlit callback."""
    st.text_input(
        "Go to",
        key=JUMP,
        placeholder="12:30",
        width=130,
        help="A time in the video: 12:30, 1:02:03.5, or seconds. Press Enter.",
        on_change=_jump_to_typed_time,
        args=(video, jump),
    )


def go_to_frame_at(video: VideoRow, view: View, seconds: float) -> None:
    """Show the kept frame at a time; in a view of source frames, the exact source frame. For callbacks."""
    with reading() as connection:
        kept = queries.frame_at(connection, video.id, seconds)
    if kept is None:
        return
    if view.source is not None and (index := _index_at(video, kept, seconds)) is not None:
        go_to(view.source_frame(index))
    else:
        go_to(view.kept_frame(kept.id))


def go_to_page_at(video: VideoRow, view: View, seconds: float) -> None:
    """Show the gallery page that starts with the frame at a time. For callbacks."""
    with reading() as connection:
        first = gallery.cards(
            connection, video.id, show=view.show, tag=view.tag, before=seconds + EPSILON_SECONDS, limit=1
        )
    go_to(view.gallery(after=first[0].timestamp - EPSILON_SECONDS if first else None))


def _index_at(video: VideoRow, kept: FrameRow, seconds: float) -> int | None:
    """The index of the source frame at a time, by the nominal frame rate, within those the kept frame stands for."""
    if kept.index is None or not video.fps:
        return None
    offset = int((seconds - kept.timestamp) * video.fps + EPSILON_SECONDS)
    return kept.index + min(max(offset, 0), (kept.stands_for or 1) - 1)


def _jump_to_typed_time(video: VideoRow, jump: Callable[[float], None]) -> None:
    typed = str(st.session_state.get(JUMP) or "")
    if not typed.strip():
        return
    seconds = parse_time(typed)
    if seconds is None:
        st.toast(f"“{markdown_text(typed, TYPED_CHARACTERS)}” is not a valid time. Use 12:30, 1:02:03 or seconds.")
        return
    st.session_state[JUMP] = ""
    if video.duration is not None and seconds > video.duration:
        st.toast(f"The video ends at {markdown_text(format_timestamp(video.duration))}. Showing its end.")
    jump(seconds)


def _step_button(label: str, view: View | None, key: str, tooltip: str) -> None:
    st.button(
        label,
        key=f"step-{key}",
        shortcut=key,
        disabled=view is None,
        help=tooltip,
        on_click=go_to,
        args=(view if view is not None else View(),),
    )
