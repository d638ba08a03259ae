"""Edit a frame: its description, its tags, its approval; and tag many frames at once.

Unsaved input is a draft. It survives navigation to other frames and ends with the browser tab.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import streamlit as st

from db import editing
from db.gallery import Scene
from db.queries import FrameRow, VideoRow
from enrich.wording import format_count, format_timestamp
from pages.parts.plain import plain, shown
from pages.parts.session import reports_storage_errors, writing
from pages.parts.view import parse_time

DESCRIPTION_CHARACTERS = 4000
TAG_CHARACTERS = 60
SCENE, RANGE = "this scene", "time range"


def draw_editor(frame: FrameRow, suggested_tags: Sequence[str]) -> None:
    """Draw the fields for a frame's description and tags. Once saved, search and export use them."""
    text_key, tags_key = f"text-{frame.id}", f"tags-{frame.id}"
    _sync_draft(text_key, shown(frame.description or ""))
    _sync_draft(tags_key, list(frame.tags))
    st.text_area(
        "Your description",
        key=text_key,
        height=140,
        max_chars=DESCRIPTION_CHARACTERS,
        persist_state="session",
        placeholder="What happens here?",
        help="Search and export use your text. The model's description is kept beside it.",
    )
    options = list(dict.fromkeys([*st.session_state[tags_key], *frame.tags, *suggested_tags]))
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
            "Unapprove" if is_approved else "Approve",
            key="approve",
            shortcut="A",
            help="Mark the description as checked and correct." if not is_approved else None,
            on_click=_set_approval,
            args=(frame, not is_approved),
        )
        if frame.edited_at is not None:
            with st.popover("Revert to model"):
                st.write("Your description and tags are deleted. The model's are used again.")
                st.button("Delete my changes", key="restore", on_click=_revert, args=(frame,))
    if frame.edited_at is not None:
        st.caption(f"Corrected by you on {frame.edited_at.astimezone():%d %B %Y, %H:%M}.")
    if frame.reviewed_at is not None:
        st.caption(f"Approved by you on {frame.reviewed_at.astimezone():%d %B %Y, %H:%M}.")


def draw_bulk_tagging(video: VideoRow, frame: FrameRow, scenes: Sequence[Scene]) -> None:
    """Draw the form that adds a tag to every kept frame of a scene or of a time range."""
    scene = next((scene for scene in scenes if scene.number == frame.scene), None)
    with st.expander("Tag several frames"):
        st.text_input("Tag", key="bulk-tag", max_chars=TAG_CHARACTERS, placeholder="first dance")
        scope = RANGE
        if scene is not None:
            scope = st.segmented_control(
                "Apply to",
                [SCENE, RANGE],
                default=SCENE,
                required=True,
                key="bulk-scope",
                format_func=lambda choice: choice.capitalize(),
            )
        if scope == SCENE and scene is not None:
            first, last = plain(format_timestamp(scene.start)), plain(format_timestamp(scene.end))
            st.caption(f"Scene {scene.number + 1}, {first} to {last}: {format_count(scene.kept, 'frame')}")
            st.button(
                "Tag this scene",
                key="bulk-scene",
                on_click=_tag_range,
                args=(video, scene.start, scene.end),
            )
        else:
            start, end = st.columns(2)
            start.text_input("From", key="bulk-from", placeholder=format_timestamp(frame.timestamp))
            end.text_input("To", key="bulk-to", placeholder=format_timestamp(video.duration))
            st.button("Tag these frames", key="bulk-range", on_click=_tag_typed_range, args=(video, frame))


def _sync_draft(key: str, saved: str | list[str]) -> None:
    """Set a field to the saved value, initially and whenever that changes, unless it holds unsaved input."""
    base_key = f"{key}-base"  # the saved value that the draft started from
    draft, base = st.session_state.get(key), st.session_state.get(base_key)
    if draft is None or (draft == base and base != saved):
        st.session_state[key] = saved
    if base != saved:
        st.session_state[base_key] = saved


@reports_storage_errors
def _save(frame: FrameRow) -> None:
    text = str(st.session_state[f"text-{frame.id}"]).strip()
    tags = [tag for typed in st.session_state[f"tags-{frame.id}"] if (tag := _normalize_tag(typed))]
    is_new_text = text != shown(frame.description or "").strip()
    is_new_tags = tags != list(frame.tags)
    if not (is_new_text or is_new_tags):
        st.toast("No changes to save.")
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


@reports_storage_errors
def _set_approval(frame: FrameRow, is_approved: bool) -> None:
    with writing() as connection:
        editing.approve_frame(connection, frame.id, is_approved=is_approved, now=datetime.now(UTC))


@reports_storage_errors
def _revert(frame: FrameRow) -> None:
    with writing() as connection:
        editing.restore_frame(connection, frame.id)
    for name in ("text", "tags"):
        st.session_state.pop(f"{name}-{frame.id}", None)


@reports_storage_errors
def _tag_range(video: VideoRow, start: float, end: float) -> None:
    tag = _normalize_tag(str(st.session_state.get("bulk-tag") or ""))
    if not tag:
        st.toast("Type a tag first.")
        return
    with writing() as connection:
        count = editing.tag_range(connection, video.id, start, end, tag, now=datetime.now(UTC))
    st.session_state["bulk-tag"] = ""
    st.toast(f"Tagged {format_count(count, 'frame')} with “{plain(tag)}”.")


def _tag_typed_range(video: VideoRow, frame: FrameRow) -> None:
    typed = [str(st.session_state.get(key) or "").strip() for key in ("bulk-from", "bulk-to")]
    defaults = [frame.timestamp, video.duration if video.duration is not None else frame.timestamp]
    start, end = (parse_time(text) if text else default for text, default in zip(typed, defaults, strict=True))
    if start is None or end is None:
        st.toast("Start and end must be valid times. Use 12:30, 1:02:03 or seconds.")
    elif start > end:
        st.toast("The start is after the end.")
    else:
        _tag_range(video, start, end)


def _normalize_tag(typed: str) -> str:
    return " ".join(typed.split())[:TAG_CHARACTERS]
