"""The timeline of a video: its kept frames by state, its scenes, its excitement, and the current position.

A click jumps to that time; the "Go to" field does the same from the keyboard. The chart specification is cached and its
data are sent beside it by name, so a step to another frame changes only the data of the position marker.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from db.gallery import Scene, TimelineBucket
from db.queries import VideoRow
from enrich.wording import format_count, format_timestamp
from pages.parts.frames.video import Outline

HEIGHT = 120  # pixels
MOST_SCENES = 400  # more could not be told apart
DESCRIBED, PENDING, FAILED = "Described", "Not described", "Failed"
SCENE_SHARE = 0.22  # height of the scene band, as a share of the bars' height
HIGHEST_EXCITEMENT = 10
MARKER_SHARE = 1 / 300  # least width of the position marker, as a share of the duration
CLICK = "clicked_bucket"  # name of the chart's selection parameter
JUMP_COUNT = "timeline-jumps"
# Axis labels as 1:05, or 1:02:05 from an hour on.
CLOCK_LABEL = (
    "(datum.value >= 3600 ? floor(datum.value / 3600) + ':' + format(floor(datum.value % 3600 / 60), '02d')"
    " : floor(datum.value / 60)) + ':' + format(floor(datum.value % 60), '02d')"
)


def draw_timeline(
    video: VideoRow,
    outline: Outline,
    *,
    position: tuple[float, float] | None,
    jump: Callable[[float], None],
) -> None:
    """Draw the timeline. `position`: start and end of what the page shows, in seconds; equal for a single frame.

    `jump` is called with the start of the clicked bucket, in seconds, in a Streamlit callback.
    """
    top = max((bucket.kept for bucket in outline.buckets), default=0)
    if not top:
        return
    floor = -top * SCENE_SHARE if outline.scenes else 0.0
    end = outline.buckets[-1].end
    has_excitement = any(bucket.excitement is not None for bucket in outline.buckets)
    spec = json.loads(chart_spec(end, floor, top, has_scenes=bool(outline.scenes), has_excitement=has_excitement))
    key = f"timeline-{st.session_state.get(JUMP_COUNT, 0)}"  # a new key after each jump clears the chart's selection
    data = {**datasets(outline, floor, top), "position": _position_marker(position, floor, top, end)}
    st.vega_lite_chart(
        {**spec, "datasets": data},
        key=key,
        height=HEIGHT,
        width="stretch",
        on_select=lambda: _on_click(key, jump),
        selection_mode=CLICK,
        alt=chart_alt_text(video, outline),
    )
    if has_excitement:
        st.caption(f"Line: excitement from 0 to {HIGHEST_EXCITEMENT}, rated by the quick scan.")


@lru_cache(maxsize=64)
def chart_spec(end: float, floor: float, top: int, *, has_scenes: bool, has_excitement: bool) -> str:
    """The chart as Vega-Lite JSON, without its data, which it refers to by name.

    `end`: duration of the video in seconds; `floor` and `top`: limits of the vertical axis, in kept frames.
    """
    seconds = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(title=None, labelExpr=CLOCK_LABEL, grid=False, tickCount=8, tickMinStep=1, format=""),
    )
    height = alt.Y("low:Q", axis=None, scale=alt.Scale(domain=[floor, top], nice=False))
    box: dict[str, Any] = {"x": seconds, "x2": "end:Q", "y": height, "y2": "high:Q"}
    state = alt.Color(
        "state:N",
        scale=alt.Scale(domain=[DESCRIBED, PENDING, FAILED]),
        legend=alt.Legend(orient="top", title=None, offset=2),
    )
    layers = [alt.Chart(alt.NamedData("bars")).mark_rect(aria=False, strokeWidth=0).encode(**box, color=state)]
    if has_scenes:
        shade = alt.Opacity("shade:Q", scale=None, legend=None)
        layers.append(
            alt.Chart(alt.NamedData("scenes")).mark_rect(aria=False, color="gray").encode(**box, opacity=shade)
        )
    if has_excitement:
        line = alt.Chart(alt.NamedData("excitement")).mark_line(aria=False, strokeWidth=1.5, opacity=0.9, color="gray")
        layers.append(line.encode(x=seconds, y=height))
    layers.append(alt.Chart(alt.NamedData("position")).mark_rect(aria=False, color="gray", opacity=0.4).encode(**box))
    targets = alt.Chart(alt.NamedData("targets")).mark_rect(aria=False, color="gray", cursor="pointer")
    tips = ["From:N", "Frames:Q", "Described:Q", "Failed:Q"]
    clicked = alt.selection_point(name=CLICK, fields=["start"], on="click", clear=False)
    layers.append(targets.encode(**box, opacity=alt.value(0), tooltip=tips).add_params(clicked))
    chart = alt.LayerChart(layer=layers).configure(aria=False)  # one alternative text describes the whole chart
    return str(chart.to_json(indent=None))


def datasets(outline: Outline, floor: float, top: int) -> dict[str, pd.DataFrame]:
    """The data of the chart by name, except the position marker; times in seconds."""
    return {
        "bars": pd.DataFrame(_bars(outline.buckets), columns=["state", "start", "end", "low", "high"]),
        "scenes": _scene_band(outline.scenes, floor, outline.buckets[-1].end),
        "excitement": _excitement(outline.buckets, top),
        "targets": _targets(outline.buckets, floor, top),
    }


def chart_alt_text(video: VideoRow, outline: Outline) -> str:
    """The alternative text of the chart, for screen readers."""
    kept = sum(bucket.kept for bucket in outline.buckets)
    described = sum(bucket.described for bucket in outline.buckets)
    failed = sum(bucket.failed for bucket in outline.buckets)
    duration = format_timestamp(video.duration)
    parts = [
        f"Timeline of the video, duration {duration}: {format_count(kept, 'frame')}, {described:,} described",
        f"{failed:,} failed" if failed else "",
        format_count(len(outline.scenes), "scene") if outline.scenes else "",
        _most_exciting(outline.buckets),
    ]
    return ", ".join(part for part in parts if part)


def _most_exciting(buckets: Sequence[TimelineBucket]) -> str:
    """The time of the highest rating by the quick pass; empty if nothing was rated."""
    rated = [(bucket.excitement, -bucket.start) for bucket in buckets if bucket.excitement is not None]
    if not rated:
        return ""
    highest, negative_start = max(rated)
    return f"most exciting at {format_timestamp(-negative_start)}, {highest:g} of {HIGHEST_EXCITEMENT}"


def _bars(buckets: Sequence[TimelineBucket]) -> list[tuple[str, float, float, int, int]]:
    """Stacked bars of each bucket's kept frames: described, not described, failed."""
    bars = []
    for bucket in buckets:
        low = 0
        pending = bucket.kept - bucket.described - bucket.failed
        for state, count in ((DESCRIBED, bucket.described), (PENDING, pending), (FAILED, bucket.failed)):
            if count > 0:
                bars.append((state, bucket.start, bucket.end, low, low + count))
                low += count
    return bars


def _scene_band(scenes: Sequence[Scene], floor: float, end: float) -> pd.DataFrame:
    """A band of scenes in alternating shades below the bars; each ends where the next begins."""
    drawn = scenes[:MOST_SCENES]
    return pd.DataFrame(
        {
            "start": [scene.start for scene in drawn],
            "end": [*(scene.start for scene in drawn[1:]), end][: len(drawn)],
            "shade": [0.55 if number % 2 else 0.25 for number in range(len(drawn))],
            "low": floor,
            "high": floor * 0.25,
        }
    )


def _excitement(buckets: Sequence[TimelineBucket], top: int) -> pd.DataFrame:
    """Excitement as a line over the bars, scaled so that the highest rating reaches their top."""
    rated = [bucket for bucket in buckets if bucket.excitement is not None]
    return pd.DataFrame(
        {
            "start": [(bucket.start + bucket.end) / 2 for bucket in rated],
            "low": [(bucket.excitement or 0.0) / HIGHEST_EXCITEMENT * top for bucket in rated],
        }
    )


def _position_marker(position: tuple[float, float] | None, floor: float, top: int, end: float) -> pd.DataFrame:
    """A thin line for a single frame, or the range that a gallery page covers."""
    if position is None:
        boxes = []
    else:
        start, stop = position
        boxes = [(start, max(stop, start + end * MARKER_SHARE), floor, float(top))]
    return pd.DataFrame(boxes, columns=["start", "end", "low", "high"])


def _targets(buckets: Sequence[TimelineBucket], floor: float, top: int) -> pd.DataFrame:
    """Invisible click targets: one per bucket, over the full height, with the values of its tooltip."""
    return pd.DataFrame(
        {
            "start": [bucket.start for bucket in buckets],
            "end": [bucket.end for bucket in buckets],
            "low": floor,
            "high": top,
            "From": [format_timestamp(bucket.start) for bucket in buckets],
            "Frames": [bucket.kept for bucket in buckets],
            "Described": [bucket.described for bucket in buckets],
            "Failed": [bucket.failed for bucket in buckets],
        }
    )


def _on_click(key: str, jump: Callable[[float], None]) -> None:
    chosen = st.session_state[key].selection.get(CLICK) or []
    if chosen:
        st.session_state[JUMP_COUNT] = st.session_state.get(JUMP_COUNT, 0) + 1
        jump(float(chosen[0]["start"]))
