"""Change what is said of a frame: edit its description and tags, approve it, tag many frames at once, re-describe it.

Unsaved input is a draft. It survives navigation to other frames and ends with the browser tab. Re-describing is a
background job whose state is shown beside the frame, in every tab.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from db import editing
from db.gallery import CallRow, Scene
from db.queries import FrameRow, VideoRow
from enrich.errors import EveryFrameError
from enrich.jobs.jobs import Job, jobs, start_job
from enrich.wording import format_count, format_timestamp, markdown_text, printable
from pages.parts.inquiry import follow, inquiries
from pages.parts.models.installed import models_in
from pages.parts.session import live, reports_storage_errors, settings, writing
from pages.parts.view import parse_time

DESCRIPTION_CHARACTERS = 4000
TAG_CHARACTERS = 60
SCENE, RANGE = "this scene", "time range"


def draw_editor(frame: FrameRow, suggested_tags: Sequence[str]) -> None:
    """Draw the fields for a frame's description and tags. Once saved, search and export use them."""
    text_key, tags_key = f"text-{frame.id}", f"tags-{frame.id}"
    _sync_draft(text_key, printable(frame.description or ""))
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
        format_func=printable,
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
            first, last = markdown_text(format_timestamp(scene.start)), markdown_text(format_timestamp(scene.end))
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
    is_new_text = text != printable(frame.description or "").strip()
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
    st.toast(f"Tagged {format_count(count, 'frame')} with “{markdown_text(tag)}”.")


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


KIND = "describe"
REFRESH = "2s"
SHOW_RESULT_FOR = timedelta(minutes=30)
FRESH_SECONDS = 60.0  # of the list of models
PATIENCE_SECONDS = 0.7  # usually enough for Ollama to respond, so that the form is complete when it appears
INSTRUCTION_CHARACTERS = 500


def draw_redescribe_panel(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    """Draw the form that starts a job, and the state of the latest job for this frame."""
    panel = st.expander("Re-describe this frame", key="redescribe", on_change="rerun")
    with panel:
        if is_open(panel):
            _draw_form(video, frame, calls)
    job = latest_job(frame.id)
    if job is not None and (job.is_running or datetime.now(UTC) - job.started_at < SHOW_RESULT_FOR):
        _draw_live_state(frame.id, is_live=job.is_running)


def is_open(panel: Any) -> bool:
    """Whether the panel is open; the installed models are listed only then."""
    return bool(panel.open)


def latest_job(frame_id: int) -> Job | None:
    """The latest job for a frame, None if there was none."""
    return next((job for job in jobs(settings(), KIND) if _option(job, "--id") == str(frame_id)), None)


def _draw_form(video: VideoRow, frame: FrameRow, calls: list[CallRow]) -> None:
    used = [call.model for call in calls if call.describer == "ollama"]
    answer = inquiries().ask(settings(), "models", fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS)
    outcome = answer.outcome
    if outcome is None:
        follow(settings(), "models")
    installed = models_in(outcome.data or []) if outcome is not None and outcome.is_good else []
    models = list(dict.fromkeys([settings().model, *used, *(model.name for model in installed if model.sees)]))
    st.selectbox("Model", models, key="redescribe-model", accept_new_options=True, help="A model installed in Ollama.")
    st.text_input(
        "Extra instructions (optional)",
        key="redescribe-instructions",
        max_chars=INSTRUCTION_CHARACTERS,
        placeholder="Count the guests at the table",
        help="Added to the usual prompt.",
    )
    st.button("Re-describe", key="redescribe-start", on_click=_start, args=(video.id, frame.id))
    st.caption("Replaces the model's current description. Your own corrections are kept.")


def _draw_live_state(frame_id: int, *, is_live: bool) -> None:
    """Draw the state of the latest job, refreshed while it runs; the whole page is redrawn when it ends."""

    @live(run_every=REFRESH if is_live else None)
    def state() -> None:
        job = latest_job(frame_id)
        if job is None:
            return
        if is_live and not job.is_running:
            st.rerun()
        _draw_state(job)

    state()


def _draw_state(job: Job) -> None:
    model = markdown_text(_option(job, "--model") or settings().model)
    if job.is_running:
        st.info(f"{model} is describing this frame. You can keep working.")
    elif job.exit_code == 0 and job.lines:
        seconds = job.lines[-1].get("seconds")
        duration = f" in {float(seconds):.1f} s" if isinstance(seconds, int | float) else ""
        st.success(f"{model} re-described this frame{duration}.")
    else:
        st.error(f"{model} could not describe this frame:")
        st.text(printable(job.error or "no reason was given"))


def _start(video_id: int, frame_id: int) -> None:
    words = ["describe", str(video_id), "--id", str(frame_id)]
    if model := str(st.session_state.get("redescribe-model") or "").strip():
        words.append(f"--model={model}")
    if instructions := str(st.session_state.get("redescribe-instructions") or "").strip():
        words.append(f"--ask={instructions}")
    try:
        start_job(settings(), KIND, *words)
    except EveryFrameError as error:
        st.toast(markdown_text(error))


def _option(job: Job, name: str) -> str | None:
    """The value of an option of the job's command, as `--name value` or `--name=value`."""
    for word, following in zip(job.words, [*job.words[1:], None], strict=True):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None
