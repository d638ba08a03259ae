"""Going through a film: from kept frame to kept frame, frame by frame, or to a moment that is typed.

Buttons and keys do the same: the arrow keys step over kept frames, with Shift over every frame of the film. While
something is typed into a field, the keys belong to the field.
"""

from collections.abc import Callable
from dataclasses import dataclass

import streamlit as st

from db import gallery, queries
from db.queries import FrameRow, VideoRow
from enrich.wording import clock
from pages.parts.frames.outline import Outline
from pages.parts.frames.strips import last_index
from pages.parts.frames.timeline import timeline
from pages.parts.frames.video import way_back
from pages.parts.plain import plain
from pages.parts.session import reading
from pages.parts.view import HAIR_SECONDS, View, go, moment_in

JUMP = "jump-to"


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
