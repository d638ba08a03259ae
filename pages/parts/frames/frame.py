"""The view of one frame: its image, facts, descriptions, warnings and model calls, for kept and other source frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from db.gallery import CallRow
from db.queries import FrameRow, VideoRow
from enrich.library.media import image_file
from enrich.wording import format_count, format_duration, format_timestamp, markdown_text, printable, spreadsheet_text
from pages.parts.frames.navigation import SteppedFrame, StripError, strip_cache
from pages.parts.gallery import alt_text
from pages.parts.player import draw_player, show_decode_error
from pages.parts.session import engine, settings
from pages.parts.view import LARGE_EDGE, PAGE, View, go_to, image_url, source_url

WARNING_TEXTS = {
    "empty": "The reply was empty.",
    "cut_off": "The reply was cut off.",
    "not_json": "The reply was not valid JSON; the readable part was kept.",
    "repeats": "The reply repeats itself.",
    "leaks_prompt": "The reply repeats parts of the prompt.",
    "same_text": "A different image got the same description.",
    "context_name": "A name comes from your notes about the video and is not visible in the image",
}
LAYOUT = """<style>
.st-key-frame-image img { max-height: 68vh; object-fit: contain; background: rgba(128, 128, 128, 0.14); }
.st-key-frame-image video { max-height: 68vh; }
</style>"""
TENTHS_BELOW_SECONDS = 10  # shorter durations are shown in tenths of a second
NEARLY_IDENTICAL = 0.999  # likeness


def warning_texts(warnings: Iterable[Mapping[str, str]]) -> list[str]:
    """A sentence for each warning. It may end with model output, so show it as text, not as Markdown."""
    return [_warning_text(warning.get("problem", ""), warning.get("detail", "")) for warning in warnings]


def _warning_text(problem: str, detail: str) -> str:
    text = WARNING_TEXTS.get(problem, problem)
    if not detail:
        return text if text.endswith(".") else f"{text}."
    return f"{text.rstrip('.')}: {detail}"


def draw_kept_image(video: VideoRow, view: View, frame: FrameRow) -> None:
    """Draw the image of a kept frame, or the video player starting there."""
    with _image_container():
        if view.is_playing:
            draw_player(video, view, frame.timestamp)
        elif image_file(engine(), settings(), frame.id) is None:
            st.info("The image of this frame is missing. Press Start on the Overview page to re-create it.")
        else:
            alt = alt_text(frame.description or f"Frame at {format_timestamp(frame.timestamp)}, not described yet")
            st.image(image_url(frame.id, LARGE_EDGE), width="stretch", alt=alt)


def draw_source_image(video: VideoRow, view: View, source: SteppedFrame) -> None:
    """Draw the image of a source frame, or the video player starting there."""
    with _image_container():
        if view.is_playing:
            draw_player(video, view, source.timestamp)
        else:
            alt = f"Frame {source.index} of the video, at {format_timestamp(source.timestamp)}"
            st.image(source_url(video.id, source.index), width="stretch", alt=alt)


def load_source_frame(video: VideoRow, view: View, index: int) -> SteppedFrame | None:
    """Decode a source frame, or take it from the cache. On failure, show the error and return None."""
    try:
        with st.spinner("Decoding frames"):
            return strip_cache().frame(settings(), video, index)
    except StripError as error:
        show_decode_error(video, view, error)
        return None


def _play_button(view: View) -> None:
    """Draw the button that switches between the image and the player."""
    toggled = replace(view, after=None, is_playing=not view.is_playing)
    label, icon = ("Show frame", ":material/image:") if view.is_playing else ("Play from here", ":material/play_arrow:")
    st.button(label, key="play", icon=icon, shortcut="P", on_click=go_to, args=(toggled,))


def draw_kept_facts(video: VideoRow, view: View, frame: FrameRow) -> None:
    """Draw the time of a kept frame, the frames it stands for, and the warnings about its description."""
    st.subheader(markdown_text(format_timestamp(frame.timestamp)), anchor=False)
    st.text(_position(frame))
    st.text(_represented_frames(video, frame))
    _play_button(view)
    if frame.error:
        st.warning("This frame could not be described:")
        st.text(printable(frame.error))
    texts = warning_texts(frame.warnings)
    if texts:
        st.warning(f"{format_count(len(texts), 'warning')} about the description:")
        for text in texts:
            st.text(printable(text))


def draw_source_facts(view: View, source: SteppedFrame, kept: FrameRow | None) -> None:
    """Draw the time of a source frame, and the kept frame that stands for it."""
    st.subheader(markdown_text(format_timestamp(source.timestamp)), anchor=False)
    st.text(f"Frame {source.index} of the video")
    _play_button(view)
    if kept is None:
        st.text("This part of the video has not been extracted yet.")
        return
    st.text(_representative(kept, source.likeness))
    st.page_link(
        PAGE,
        label=f"Frame at {markdown_text(format_timestamp(kept.timestamp))}",
        query_params=view.kept_frame(kept.id).to_query(),
    )
    st.text(printable(kept.description or "Not described yet."))


def draw_model_texts(frame: FrameRow, calls: Sequence[CallRow]) -> None:
    """Draw the texts of the deep and the quick pass side by side, each with the model call it comes from."""
    used = {call.pass_: call for call in reversed(calls) if call.is_kept}  # the newest of each pass
    deep, quick = st.columns(2)
    with deep:
        st.markdown("**Description**")
        if frame.local_description is None:
            st.caption("Not described yet.")
        else:
            _draw_model_text(frame.local_description, frame.local_tags, used.get("deep"))
    with quick:
        st.markdown("**Quick scan**")
        if frame.quick_description is None:
            st.caption("Not quick-scanned.")
        else:
            _draw_model_text(frame.quick_description, frame.quick_tags, used.get("quick"), rating=_rating(frame))


def draw_details(video: VideoRow, frame: FrameRow, calls: Sequence[CallRow]) -> None:
    """Draw all fields of a kept frame, and every model call about it."""
    with st.expander("Details"):
        rows = _fields(video, frame)
        st.dataframe(
            pd.DataFrame({"Field": [row[0] for row in rows], "Value": [spreadsheet_text(row[1]) for row in rows]}),
            hide_index=True,
            height="content",
            alt="All fields of this frame",
        )
    with st.expander(f"Model calls ({len(calls)})"):
        _draw_calls(calls)


def _image_container() -> "st.delta_generator.DeltaGenerator":
    st.html(LAYOUT)
    return st.container(key="frame-image")


def _draw_model_text(text: str, tags: Sequence[str] | None, call: CallRow | None, *, rating: str = "") -> None:
    st.text(printable(text))
    if rating:
        st.markdown(markdown_text(rating))
    if tags:
        st.caption(markdown_text(", ".join(tags)))
    if call is not None:
        tokens = "" if call.output_tokens is None else f" · {call.output_tokens:,} tokens"
        st.caption(markdown_text(f"{call.model} · {call.latency_seconds:.1f} s{tokens}"))


def _rating(frame: FrameRow) -> str:
    """The rating by the quick pass, such as: Dancing, excitement 7 of 10."""
    event = (frame.event_type or "").capitalize()
    excitement = "" if frame.excitement is None else f"excitement {frame.excitement:g} of 10"
    return ", ".join(part for part in (event, excitement) if part)


def _position(frame: FrameRow) -> str:
    scene = "" if frame.scene is None else f", scene {frame.scene + 1}"
    number = "Preview frame" if frame.index is None else f"Frame {frame.index} of the video"
    return f"{number}{scene}"


def _represented_frames(video: VideoRow, frame: FrameRow) -> str:
    if frame.stands_for is None:
        return "Similar frames are counted once the video is extracted."
    if frame.stands_for == 1:
        return "Unique frame"
    seconds = frame.stands_for / video.fps if video.fps else None
    if seconds is None:
        duration = ""
    else:
        duration = f" ({format_duration(seconds) if seconds >= TENTHS_BELOW_SECONDS else f'{seconds:.1f} s'})"
    return f"Represents {frame.stands_for:,} similar frames{duration}"


def _representative(kept: FrameRow, likeness: float | None) -> str:
    if likeness is None:
        return f"Represented by frame {kept.index}"
    if likeness >= NEARLY_IDENTICAL:
        return f"Nearly identical to frame {kept.index}"
    return f"{likeness * 100:.0f} % similar to frame {kept.index}"


def _fields(video: VideoRow, frame: FrameRow) -> list[tuple[str, str]]:
    fields: list[tuple[str, object]] = [
        ("Video", video.title),
        ("File", video.path),
        ("Frame ID", frame.id),
        ("Frame number", frame.index),
        ("Time", format_timestamp(frame.timestamp)),
        ("Time in seconds", frame.timestamp),
        ("Frames represented", frame.stands_for),
        ("Scene", None if frame.scene is None else frame.scene + 1),
        ("Sharpness", None if frame.sharpness is None else f"{frame.sharpness:.1f}"),
        ("Brightness (0 to 255)", None if frame.brightness is None else f"{frame.brightness:.1f}"),
        ("Motion (0 to 255)", None if frame.motion is None else f"{frame.motion:.1f}"),
        ("Key frame", "yes" if frame.is_keyframe else "no"),
        ("Event", frame.event_type),
        ("Excitement (0 to 10)", frame.excitement),
        ("Described", None if frame.enriched_at is None else f"{frame.enriched_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Corrected", None if frame.edited_at is None else f"{frame.edited_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Approved", None if frame.reviewed_at is None else f"{frame.reviewed_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Image hash", frame.dhash),
        ("Image file", frame.image_path),
    ]
    return [(name, "–" if value is None else str(value)) for name, value in fields]


def _draw_calls(calls: Sequence[CallRow]) -> None:
    if not calls:
        st.caption("No model calls yet.")
        return
    st.dataframe(
        pd.DataFrame(
            {
                "Time": [f"{call.created_at.astimezone():%Y-%m-%d %H:%M}" for call in calls],
                "Model": [spreadsheet_text(call.model) for call in calls],
                "Pass": [spreadsheet_text(call.pass_) for call in calls],
                "Duration (s)": [round(call.latency_seconds, 2) for call in calls],
                "Loading (s)": [round(call.load_seconds, 2) for call in calls],
                "Tokens in": [call.prompt_tokens for call in calls],
                "Tokens out": [call.output_tokens for call in calls],
                "Used": ["yes" if call.is_kept else "no" for call in calls],
                "Warnings": [spreadsheet_text(" ".join(warning_texts(call.warnings))) for call in calls],
                "Host": [spreadsheet_text(call.host) for call in calls],
                "Prompt version": [spreadsheet_text(call.prompt_version) for call in calls],
                "Cost (USD)": [call.cost_usd for call in calls],
            }
        ),
        hide_index=True,
        alt="Model calls about this frame, newest first",
    )
    st.markdown("**Last reply from the model**")
    st.code(printable(calls[0].raw_reply or "(not stored)"), language=None, wrap_lines=True)
