"""What a person says of a frame: other words, other tags, "this is right"; and a tag for many frames at once.

What is typed but not saved yet is a draft: it stays while one looks at other frames, until the tab is closed.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from db import editing
from db.gallery import Scene
from db.queries import FrameRow, VideoRow
from enrich.wording import clock, counted
from pages.parts.plain import plain, shown
from pages.parts.session import writing
from pages.parts.view import moment_in

LONGEST_TEXT = 4000
LONGEST_TAG = 60
SCENE, RANGE = "this scene", "from … to …"


def edit_part(frame: FrameRow, suggestions: Sequence[str]) -> None:
    """The words and tags of a frame, to be changed; saved, they are what search and export use."""
    text_key, tags_key = f"text-{frame.id}", f"tags-{frame.id}"
    _begin_draft(text_key, shown(frame.description or ""))
    _begin_draft(tags_key, list(frame.tags))
    st.text_area(
        "Your description",
        key=text_key,
        height=140,
        max_chars=LONGEST_TEXT,
        persist_state="session",
        placeholder="What is to be seen here?",
        help="Search and export use your words; the model's stay beside them.",
    )
    options = list(dict.fromkeys([*st.session_state[tags_key], *frame.tags, *suggestions]))
    st.multiselect(
        "Tags",
        options,
        key=tags_key,
        format_func=shown,
        accept_new_options=True,
        persist_state="session",
        placeholder="Choose or type tags",
    )
    with st.container(horizontal=True):
        st.button("Save", key="save", shortcut="Ctrl+Enter", on_click=_save, args=(frame,))
        is_approved = frame.reviewed_at is not None
        st.button(
            "Take approval back" if is_approved else "Approve",
            key="approve",
            shortcut="A",
            help="You have looked at it, and it is right." if not is_approved else None,
            on_click=_approve,
            args=(frame, not is_approved),
        )
        if frame.edited_at is not None:
            with st.popover("Use the model's words"):
                st.write("What you wrote about this frame is forgotten; the model's description and tags count again.")
                st.button("Forget what I wrote", key="restore", on_click=_restore, args=(frame,))
    if frame.edited_at is not None:
        st.caption(f"Corrected by you on {frame.edited_at.astimezone():%d %B %Y, %H:%M}.")
    if frame.reviewed_at is not None:
        st.caption(f"Approved by you on {frame.reviewed_at.astimezone():%d %B %Y, %H:%M}.")


def tag_many(video: VideoRow, frame: FrameRow, scenes: Sequence[Scene]) -> None:
    """Put a tag on every kept frame of a scene or of a stretch of the film."""
    scene = next((scene for scene in scenes if scene.number == frame.scene), None)
    with st.expander("Tag more frames"):
        st.text_input("Tag", key="many-tag", max_chars=LONGEST_TAG, placeholder="first dance")
        where = RANGE
        if scene is not None:
            where = st.segmented_control(
                "Where",
                [SCENE, RANGE],
                default=SCENE,
                required=True,
                key="many-where",
                format_func=lambda choice: choice.capitalize(),
            )
        if where == SCENE and scene is not None:
            st.caption(
                f"Scene {scene.number + 1}, {plain(clock(scene.start))} to {plain(clock(scene.end))}: "
                f"{counted(scene.kept, 'kept frame')}"
            )
            st.button(
                "Put it on the scene",
                key="many-scene",
                on_click=_tag_range,
                args=(video, scene.start, scene.end),
            )
        else:
            start, end = st.columns(2)
            start.text_input("From", key="many-from", placeholder=clock(frame.timestamp))
            end.text_input("To", key="many-to", placeholder=clock(video.duration))
            st.button("Put it on these frames", key="many-range", on_click=_tag_typed, args=(video, frame))


def _begin_draft(key: str, saved: str | list[str]) -> None:
    """Fill a field with what is saved, and again when that changes, unless something else has been typed into it."""
    begun_key = f"{key}-begun"
    draft, begun = st.session_state.get(key), st.session_state.get(begun_key)
    if draft is None or (draft == begun and begun != saved):
        st.session_state[key] = saved
    if begun != saved:
        st.session_state[begun_key] = saved


def _save(frame: FrameRow) -> None:
    text = str(st.session_state[f"text-{frame.id}"]).strip()
    tags = [tag for typed in st.session_state[f"tags-{frame.id}"] if (tag := _tag(typed))]
    is_new_text = text != shown(frame.description or "").strip()
    is_new_tags = tags != list(frame.tags)
    if not (is_new_text or is_new_tags):
        st.toast("Nothing has changed.")
        return
    with writing() as connection:
        editing.edit_frame(
            connection,
            frame.id,
            description=text if is_new_text else None,
            tags=tags if is_new_tags else None,
            now=datetime.now(UTC),
        )
    st.toast("Saved.")


def _approve(frame: FrameRow, is_approved: bool) -> None:
    with writing() as connection:
        editing.approve_frame(connection, frame.id, is_approved=is_approved, now=datetime.now(UTC))


def _restore(frame: FrameRow) -> None:
    with writing() as connection:
        editing.restore_frame(connection, frame.id)
    for name in ("text", "tags"):
        st.session_state.pop(f"{name}-{frame.id}", None)


def _tag_range(video: VideoRow, start: float, end: float) -> None:
    tag = _tag(str(st.session_state.get("many-tag") or ""))
    if not tag:
        st.toast("Type the tag first.")
        return
    with writing() as connection:
        count = editing.tag_range(connection, video.id, start, end, tag, now=datetime.now(UTC))
    st.session_state["many-tag"] = ""
    st.toast(f"“{plain(tag)}” was put on {counted(count, 'frame')}.")


def _tag_typed(video: VideoRow, frame: FrameRow) -> None:
    typed = [str(st.session_state.get(key) or "").strip() for key in ("many-from", "many-to")]
    otherwise = [frame.timestamp, video.duration if video.duration is not None else frame.timestamp]
    moments = [moment_in(text) if text else given for text, given in zip(typed, otherwise, strict=True)]
    start, end = moments
    if start is None or end is None:
        st.toast("Type both moments as 12:30, 1:02:03 or in seconds.")
    elif start > end:
        st.toast("The first moment lies behind the second.")
    else:
        _tag_range(video, start, end)


def _tag(typed: str) -> str:
    return " ".join(typed.split())[:LONGEST_TAG]
