"""Source frames decoded ahead: the command line decodes a block of neighbours at a time, in a process of its own.

Shared by all tabs. A step within a block, or into one that was decoded ahead, waits for nothing; any other waits for
one command. What went wrong is never remembered: the next step asks again. It cannot know when a decoded picture is
deleted from outside; `look` finds out and has it made again.
"""

from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import streamlit as st

from db.queries import VideoRow
from enrich.jobs.command import Outcome, run_command
from enrich.library.media import strip_file
from enrich.settings import Settings

BLOCK = 24  # source frames that are decoded in one go
NEAR_EDGE = 8  # a frame so close to a block's edge has the next block decoded ahead
BLOCKS_KEPT = 64
DECODERS = 2  # commands at once: what is looked at need not wait for what is only ahead
STRIP_SECONDS = 90.0  # the limit of one command


class StripError(Exception):
    """A source frame cannot be shown; the text says why, and may hold a file's name."""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """Any frame of a film. `kept_frame_id` stands for it, and is so alike (0 to 1); None: not known yet."""

    index: int
    timestamp: float
    kept_frame_id: int | None
    likeness: float | None


@dataclass(frozen=True, slots=True)
class _Block:
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
        self._blocks: OrderedDict[_Block, Future[Outcome]] = OrderedDict()
        self._lock = Lock()

    def look(self, settings: Settings, video: VideoRow, index: int) -> SourceFrame:
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

    def _frames(self, settings: Settings, video: VideoRow, index: int) -> dict[int, SourceFrame]:
        outcome = self._begin(settings, video, index).result()
        if outcome.code != 0 or not isinstance(outcome.data, dict):
            self._forget(settings, video, index)
            raise StripError(outcome.error or f"Frame {index} could not be decoded.")
        return {
            frame["index"]: SourceFrame(frame["index"], frame["timestamp"], frame["kept_frame_id"], frame["likeness"])
            for frame in outcome.data["frames"]
        }

    def _begin(self, settings: Settings, video: VideoRow, index: int) -> "Future[Outcome]":
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


def _block(settings: Settings, video: VideoRow, index: int) -> _Block:
    return _Block(settings.url, video.id, video.fingerprint, video.kept, index // BLOCK)
