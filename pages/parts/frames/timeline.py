"""The timeline of a film: where its kept frames lie, which are described or failed, its scenes, and where one is.

A click anywhere jumps there; for the keyboard, the field "Go to" beside it does the same. What the chart looks like
is worked out once for a film, and its data travel beside it, so that a step only moves the mark of where one is.
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
from enrich.wording import clock, counted
from pages.parts.frames.video import Outline

HEIGHT = 120  # pixels
MOST_SCENES = 400  # more would be a grey band
DESCRIBED, WAITING, FAILED = "described", "not yet", "failed"
SCENE_SHARE = 0.22  # of the height, for the band of scenes below the bars
HIGHEST_EXCITEMENT = 10
MOMENT = "moment"
JUMPS = "timeline-jumps"
# Seconds on the axis as people say them: 1:05, or 1:02:05 where the film is that long.
CLOCK_LABEL = (
    "(datum.value >= 3600 ? floor(datum.value / 3600) + ':' + format(floor(datum.value % 3600 / 60), '02d')"
    " : floor(datum.value / 60)) + ':' + format(floor(datum.value % 60), '02d')"
)


def timeline(
    video: VideoRow,
    outline: Outline,
    *,
    at: tuple[float, float] | None,
    jump: Callable[[float], None],
) -> None:
    """Draw it. `at`: the stretch that is looked at (a moment if both are the same), in seconds."""
    top = max((bucket.kept for bucket in outline.buckets), default=0)
    if not top:
        return
    floor = -top * SCENE_SHARE if outline.scenes else 0.0
    end = outline.buckets[-1].end
    has_excitement = any(bucket.excitement is not None for bucket in outline.buckets)
    spec = json.loads(look(end, floor, top, has_scenes=bool(outline.scenes), has_excitement=has_excitement))
    key = f"timeline-{st.session_state.get(JUMPS, 0)}"  # a chart of its own after each jump: nothing stays selected
    st.vega_lite_chart(
        {**spec, "datasets": {**datasets(outline, floor, top), "here": _position(at, floor, top, end)}},
        key=key,
        height=HEIGHT,
        width="stretch",
        on_select=lambda: _clicked(key, jump),
        selection_mode=MOMENT,
        alt=in_words(video, outline),
    )
    if has_excitement:
        st.caption(f"The line is excitement, from 0 to {HIGHEST_EXCITEMENT}, as the quick look rates it.")


@lru_cache(maxsize=64)
def look(end: float, floor: float, top: int, *, has_scenes: bool, has_excitement: bool) -> str:
    """What the chart looks like, as Vega-Lite's JSON; its data come by name.

    `end`: of the film, in seconds; `floor` and `top`: the lowest and the highest place, in kept frames.
    """
    seconds = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(title=None, labelExpr=CLOCK_LABEL, grid=False, tickCount=8, tickMinStep=1, format=""),
    )
    height = alt.Y("low:Q", axis=None, scale=alt.Scale(domain=[floor, top], nice=False))
    place: dict[str, Any] = {"x": seconds, "x2": "end:Q", "y": height, "y2": "high:Q"}
    state = alt.Color(
        "state:N",
        scale=alt.Scale(domain=[DESCRIBED, WAITING, FAILED]),
        legend=alt.Legend(orient="top", title=None, offset=2),
    )
    layers = [alt.Chart(alt.NamedData("bars")).mark_rect(aria=False, strokeWidth=0).encode(**place, color=state)]
    if has_scenes:
        shade = alt.Opacity("shade:Q", scale=None, legend=None)
        layers.append(
            alt.Chart(alt.NamedData("scenes")).mark_rect(aria=False, color="gray").encode(**place, opacity=shade)
        )
    if has_excitement:
        line = alt.Chart(alt.NamedData("excitement")).mark_line(aria=False, strokeWidth=1.5, opacity=0.9, color="gray")
        layers.append(line.encode(x=seconds, y=height))
    layers.append(alt.Chart(alt.NamedData("here")).mark_rect(aria=False, color="gray", opacity=0.4).encode(**place))
    targets = alt.Chart(alt.NamedData("targets")).mark_rect(aria=False, color="gray", cursor="pointer")
    tips = ["From:N", "Kept frames:Q", "Described:Q", "Failed:Q"]
    moment = alt.selection_point(name=MOMENT, fields=["start"], on="click", clear=False)
    layers.append(targets.encode(**place, opacity=alt.value(0), tooltip=tips).add_params(moment))
    whole = alt.LayerChart(layer=layers).configure(aria=False)  # the chart is told in words as a whole
    return str(whole.to_json(indent=None))


def datasets(outline: Outline, floor: float, top: int) -> dict[str, pd.DataFrame]:
    """The data of the chart but for where one is, by name; times in seconds."""
    return {
        "bars": pd.DataFrame(_bars(outline.buckets), columns=["state", "start", "end", "low", "high"]),
        "scenes": _scene_band(outline.scenes, floor, outline.buckets[-1].end),
        "excitement": _excitement(outline.buckets, top),
        "targets": _targets(outline.buckets, floor, top),
    }


def in_words(video: VideoRow, outline: Outline) -> str:
    """What the chart shows, for whoever cannot see it."""
    kept = sum(bucket.kept for bucket in outline.buckets)
    described = sum(bucket.described for bucket in outline.buckets)
    failed = sum(bucket.failed for bucket in outline.buckets)
    parts = [
        f"Timeline of the film, {clock(video.duration)} long: {counted(kept, 'kept frame')}, {described:,} described",
        f"{failed:,} failed" if failed else "",
        counted(len(outline.scenes), "scene") if outline.scenes else "",
        _most_exciting(outline.buckets),
    ]
    return ", ".join(part for part in parts if part)


def _most_exciting(buckets: Sequence[TimelineBucket]) -> str:
    """Where the quick look rates the film highest; empty where it has rated nothing."""
    rated = [(bucket.excitement, -bucket.start) for bucket in buckets if bucket.excitement is not None]
    if not rated:
        return ""
    highest, place = max(rated)
    return f"most exciting at {clock(-place)}, {highest:g} of {HIGHEST_EXCITEMENT}"


def _bars(buckets: Sequence[TimelineBucket]) -> list[tuple[str, float, float, int, int]]:
    """The stretches as bars of their kept frames, one part on the other: described, not yet, failed."""
    bars = []
    for bucket in buckets:
        low = 0
        waiting = bucket.kept - bucket.described - bucket.failed
        for state, count in ((DESCRIBED, bucket.described), (WAITING, waiting), (FAILED, bucket.failed)):
            if count > 0:
                bars.append((state, bucket.start, bucket.end, low, low + count))
                low += count
    return bars


def _scene_band(scenes: Sequence[Scene], floor: float, end: float) -> pd.DataFrame:
    """Scenes as a band of alternating shades below the bars, each up to the next."""
    shown = scenes[:MOST_SCENES]
    return pd.DataFrame(
        {
            "start": [scene.start for scene in shown],
            "end": [*(scene.start for scene in shown[1:]), end][: len(shown)],
            "shade": [0.55 if number % 2 else 0.25 for number in range(len(shown))],
            "low": floor,
            "high": floor * 0.25,
        }
    )


def _excitement(buckets: Sequence[TimelineBucket], top: int) -> pd.DataFrame:
    """Excitement as a line over the bars, from none at the bottom to the highest at the top."""
    known = [bucket for bucket in buckets if bucket.excitement is not None]
    return pd.DataFrame(
        {
            "start": [(bucket.start + bucket.end) / 2 for bucket in known],
            "low": [(bucket.excitement or 0.0) / HIGHEST_EXCITEMENT * top for bucket in known],
        }
    )


def _position(at: tuple[float, float] | None, floor: float, top: int, end: float) -> pd.DataFrame:
    """Where one is: a line, or the stretch that a page of the gallery shows."""
    least = end / 300  # so that a moment is seen as a line
    places = [] if at is None else [(at[0], max(at[1], at[0] + least), floor, float(top))]
    return pd.DataFrame(places, columns=["start", "end", "low", "high"])


def _targets(buckets: Sequence[TimelineBucket], floor: float, top: int) -> pd.DataFrame:
    """What a click hits: each stretch in its whole height, with what is in it."""
    return pd.DataFrame(
        {
            "start": [bucket.start for bucket in buckets],
            "end": [bucket.end for bucket in buckets],
            "low": floor,
            "high": top,
            "From": [clock(bucket.start) for bucket in buckets],
            "Kept frames": [bucket.kept for bucket in buckets],
            "Described": [bucket.described for bucket in buckets],
            "Failed": [bucket.failed for bucket in buckets],
        }
    )


def _clicked(key: str, jump: Callable[[float], None]) -> None:
    chosen = st.session_state[key].selection.get(MOMENT) or []
    if chosen:
        st.session_state[JUMPS] = st.session_state.get(JUMPS, 0) + 1
        jump(float(chosen[0]["start"]))
