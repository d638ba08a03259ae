"""One frame of a film, large, with all that is known of it: a kept frame, or one that another stands for.

What is doubtful about a model's answer, in plain words.
"""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
import streamlit as st

from db.gallery import CallRow
from db.queries import FrameRow, VideoRow
from enrich.library.media import image_file
from enrich.wording import clock, counted, span
from pages.parts.frames.stepping import SteppedFrame, StripError, strips
from pages.parts.gallery import plain_alt
from pages.parts.plain import plain, shown
from pages.parts.player import no_such_source, player
from pages.parts.session import engine, settings
from pages.parts.view import LARGE_EDGE, View, go, image_url, source_url

WORDS = {
    "empty": "The answer was empty.",
    "cut_off": "The answer was cut off before its end.",
    "not_json": "The answer did not have the form that was asked for; what could be read of it is kept.",
    "repeats": "The answer says the same over and over.",
    "leaks_prompt": "The answer repeats parts of the question.",
    "same_text": "The same words were said of another picture that looks different.",
    "context_name": "A name was taken from what you told about the film; it cannot be read in the picture",
}
LAYOUT = """<style>
.st-key-frame-picture img { max-height: 68vh; object-fit: contain; background: rgba(128, 128, 128, 0.14); }
.st-key-frame-picture video { max-height: 68vh; }
</style>"""
SHORT_SECONDS = 10  # below that, tenths of a second are said
SAME = 0.999  # likeness from which two frames are said to look the same


def warnings(warnings: Iterable[Mapping[str, str]]) -> list[str]:
    """A sentence for each warning; each may end with words of the model, so it is to be shown as text."""
    return [_sentence(warning.get("problem", ""), warning.get("detail", "")) for warning in warnings]


def _sentence(problem: str, detail: str) -> str:
    words = WORDS.get(problem, problem)
    if not detail:
        return words if words.endswith(".") else f"{words}."
    return f"{words.rstrip('.')}: {detail}"


def kept_image(video: VideoRow, view: View, frame: FrameRow) -> None:
    """The picture of a kept frame, or the film from there on."""
    with _stage():
        if view.plays:
            player(video, view, frame.timestamp)
        elif image_file(engine(), settings(), frame.id) is None:
            st.info("The picture of this frame is missing. It is made again from the film by: Overview, Start.")
        else:
            alt = plain_alt(frame.description or f"The frame at {clock(frame.timestamp)}, not described yet")
            st.image(image_url(frame.id, LARGE_EDGE), width="stretch", alt=alt)


def source_image(video: VideoRow, view: View, source: SteppedFrame) -> None:
    """The picture of any frame of the film, or the film from there on."""
    with _stage():
        if view.plays:
            player(video, view, source.timestamp)
        else:
            alt = f"Frame {source.index} of the film, at {clock(source.timestamp)}"
            st.image(source_url(video.id, source.index), width="stretch", alt=alt)


def decoded(video: VideoRow, view: View, index: int) -> SteppedFrame | None:
    """Any frame of the film, decoded now or ahead; None where that cannot be, which is said."""
    try:
        with st.spinner("Decoding the film around this frame"):
            return strips().look(settings(), video, index)
    except StripError as error:
        no_such_source(video, view, error)
        return None


def _play_button(view: View) -> None:
    """To the film at this moment, and back to the picture."""
    other = View(view.video, view.frame, view.source, None, view.show, view.tag, plays=not view.plays)
    label, icon = (
        ("Show the picture", ":material/image:") if view.plays else ("Play from here", ":material/play_arrow:")
    )
    st.button(label, key="play", icon=icon, shortcut="P", on_click=go, args=(other,))


def kept_facts(video: VideoRow, view: View, frame: FrameRow) -> None:
    """When a kept frame is, what it stands for, and what is doubtful about its description."""
    st.subheader(plain(clock(frame.timestamp)), anchor=False)
    st.text(_place(frame))
    st.text(_covers(video, frame))
    _play_button(view)
    if frame.error:
        st.warning("This frame could not be described:")
        st.text(shown(frame.error))
    said = warnings(frame.warnings)
    if said:
        st.warning(f"{counted(len(said), 'doubt')} about the description:")
        for sentence in said:
            st.text(shown(sentence))


def source_facts(view: View, source: SteppedFrame, kept: FrameRow | None) -> None:
    """When a frame of the film is, and which kept frame stands for it."""
    st.subheader(plain(clock(source.timestamp)), anchor=False)
    st.text(f"Frame {source.index} of the film")
    _play_button(view)
    if kept is None:
        st.text("Decoding has not come so far: no picture stands for it yet.")
        return
    likeness = "" if source.likeness is None else f", {_alike(source.likeness)},"
    st.text(f"Not kept by itself: frame {kept.index}{likeness} stands for it.")
    st.page_link(
        "pages/frames.py",
        label=f"The kept frame at {plain(clock(kept.timestamp))}",
        query_params=view.kept(kept.id).query(),
    )
    st.text(shown(kept.description or "It is not described yet."))


def model_texts(frame: FrameRow, calls: Sequence[CallRow]) -> None:
    """What the deep and the quick pass say, side by side, with the calls that brought it."""
    kept = {call.pass_: call for call in reversed(calls) if call.is_kept}  # the newest of each
    deep, quick = st.columns(2)
    with deep:
        _said("In depth", frame.local_description, frame.local_tags, "Not described in depth yet.", kept.get("deep"))
    with quick:
        _said(
            "At first glance",
            frame.quick_description,
            frame.quick_tags,
            "No first glance was taken.",
            kept.get("quick"),
            rating=_rating(frame),
        )


def details(video: VideoRow, frame: FrameRow, calls: Sequence[CallRow]) -> None:
    """All fields of a kept frame, and every call to a model about it."""
    with st.expander("All that is known of this frame"):
        rows = _fields(video, frame)
        st.dataframe(
            pd.DataFrame({"What": [row[0] for row in rows], "Value": [shown(row[1]) for row in rows]}),
            hide_index=True,
            height="content",
            alt="The fields of this frame",
        )
    with st.expander(f"Model calls about this frame ({len(calls)})"):
        _calls(calls)


def _stage() -> "st.delta_generator.DeltaGenerator":
    st.html(LAYOUT)
    return st.container(key="frame-picture")


def _said(
    heading: str,
    text: str | None,
    tags: Sequence[str] | None,
    otherwise: str,
    call: CallRow | None,
    *,
    rating: str = "",
) -> None:
    st.markdown(f"**{heading}**")
    if text is None:
        st.caption(otherwise)
        return
    st.text(shown(text))
    if rating:
        st.markdown(plain(rating))
    if tags:
        st.caption(plain(", ".join(tags)))
    if call is not None:
        tokens = "" if call.output_tokens is None else f" · {call.output_tokens:,} tokens"
        st.caption(plain(f"{call.model} · {call.latency_seconds:.1f} s{tokens}"))


def _rating(frame: FrameRow) -> str:
    """What the quick pass takes it for: Dancing, excitement 7 of 10."""
    event = (frame.event_type or "").capitalize()
    excitement = "" if frame.excitement is None else f"excitement {frame.excitement:g} of 10"
    return ", ".join(part for part in (event, excitement) if part)


def _place(frame: FrameRow) -> str:
    scene = "" if frame.scene is None else f", scene {frame.scene + 1}"
    number = "Seen at the first look" if frame.index is None else f"Frame {frame.index} of the film"
    return f"{number}{scene}"


def _covers(video: VideoRow, frame: FrameRow) -> str:
    if frame.stands_for is None:
        return "What it stands for is known once the film is decoded."
    if frame.stands_for == 1:
        return "Stands for itself alone."
    lasts = frame.stands_for / video.fps if video.fps else None
    seconds = "" if lasts is None else f" ({span(lasts) if lasts >= SHORT_SECONDS else f'{lasts:.1f} s'})"
    return f"Stands for {frame.stands_for:,} frames of the film, itself included{seconds}."


def _alike(likeness: float) -> str:
    return "which looks the same" if likeness >= SAME else f"{likeness * 100:.0f} % alike"


def _fields(video: VideoRow, frame: FrameRow) -> list[tuple[str, str]]:
    known: list[tuple[str, object]] = [
        ("Film", video.title),
        ("File", video.path),
        ("Frame id", frame.id),
        ("Number in the film", frame.index),
        ("Time", clock(frame.timestamp)),
        ("Seconds", frame.timestamp),
        ("Stands for", frame.stands_for),
        ("Scene", None if frame.scene is None else frame.scene + 1),
        ("Sharpness", None if frame.sharpness is None else f"{frame.sharpness:.1f}"),
        ("Brightness, 0 to 255", None if frame.brightness is None else f"{frame.brightness:.1f}"),
        ("Motion, 0 to 255", None if frame.motion is None else f"{frame.motion:.1f}"),
        ("Key frame of the quick pass", "yes" if frame.is_keyframe else "no"),
        ("Event", frame.event_type),
        ("Excitement, 0 to 10", frame.excitement),
        ("Described", None if frame.enriched_at is None else f"{frame.enriched_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Corrected", None if frame.edited_at is None else f"{frame.edited_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Approved", None if frame.reviewed_at is None else f"{frame.reviewed_at.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("Fingerprint of the picture", frame.dhash),
        ("Picture file", frame.image_path),
    ]
    return [(name, "–" if value is None else str(value)) for name, value in known]


def _calls(calls: Sequence[CallRow]) -> None:
    if not calls:
        st.caption("No model has been asked about this frame yet.")
        return
    st.dataframe(
        pd.DataFrame(
            {
                "When": [f"{call.created_at.astimezone():%Y-%m-%d %H:%M}" for call in calls],
                "Model": [shown(call.model) for call in calls],
                "Pass": [shown(call.pass_) for call in calls],
                "Seconds": [round(call.latency_seconds, 2) for call in calls],
                "of it loading": [round(call.load_seconds, 2) for call in calls],
                "Tokens read": [call.prompt_tokens for call in calls],
                "Tokens written": [call.output_tokens for call in calls],
                "Became the text": ["yes" if call.is_kept else "no" for call in calls],
                "Doubts": [shown(" ".join(warnings(call.warnings))) for call in calls],
                "Host": [shown(call.host) for call in calls],
                "Prompt": [shown(call.prompt_version) for call in calls],
                "Cost in $": [call.cost_usd for call in calls],
            }
        ),
        hide_index=True,
        alt="The calls to models about this frame, the newest first",
    )
    st.markdown("**What the last call answered, word for word**")
    st.code(shown(calls[0].raw_reply or "(nothing is kept of it)"), language=None, wrap_lines=True)
