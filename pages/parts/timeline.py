"""The timeline of a film: where its kept frames lie, which are described or failed, its scenes, and where one is.

A click anywhere jumps there; for the keyboard, the field "Go to" beside it does the same.
"""

from collections.abc import Callable, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from db.gallery import Bucket, Scene
from db.queries import VideoRow
from enrich.wording import clock, counted
from pages.parts.outline import Outline

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
    if not any(bucket.kept for bucket in outline.buckets):
        return
    key = f"timeline-{st.session_state.get(JUMPS, 0)}"  # a chart of its own after each jump: nothing stays selected
    st.altair_chart(
        chart(outline.buckets, outline.scenes, at=at),
        key=key,
        height=HEIGHT,
        width="stretch",
        on_select=lambda: _clicked(key, jump),
        selection_mode=MOMENT,
        alt=in_words(video, outline.buckets, outline.scenes),
    )


def chart(buckets: Sequence[Bucket], scenes: Sequence[Scene], *, at: tuple[float, float] | None) -> alt.LayerChart:
    """The chart itself; times in seconds."""
    top = max(bucket.kept for bucket in buckets)
    floor = -top * SCENE_SHARE if scenes else 0.0
    end = buckets[-1].end
    bars = pd.DataFrame(_bars(buckets), columns=["state", "start", "end", "low", "high"])
    seconds = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, end], nice=False),
        axis=alt.Axis(title=None, labelExpr=CLOCK_LABEL, grid=False, tickCount=8, format=""),
    )
    height = alt.Y("low:Q", axis=None, scale=alt.Scale(domain=[floor, top], nice=False))
    state = alt.Color(
        "state:N",
        scale=alt.Scale(domain=[DESCRIBED, WAITING, FAILED]),
        legend=alt.Legend(orient="top", title=None, offset=2),
    )
    layers = [
        alt.Chart(bars).mark_rect(strokeWidth=0).encode(x=seconds, x2="end:Q", y=height, y2="high:Q", color=state)
    ]
    if scenes:
        layers.append(_scene_band(scenes, floor, end))
    if any(bucket.excitement is not None for bucket in buckets):
        layers.append(_excitement(buckets, top))
    if at is not None:
        layers.append(_position(at, floor, top, end))
    layers.append(_targets(buckets, floor, top))
    return alt.LayerChart(layer=layers)


def in_words(video: VideoRow, buckets: Sequence[Bucket], scenes: Sequence[Scene]) -> str:
    """What the chart shows, for whoever cannot see it."""
    kept, described = sum(bucket.kept for bucket in buckets), sum(bucket.described for bucket in buckets)
    failed = sum(bucket.failed for bucket in buckets)
    parts = [
        f"Timeline of the film, {clock(video.duration)} long: {counted(kept, 'kept frame')}, {described:,} described",
        f"{failed:,} failed" if failed else "",
        counted(len(scenes), "scene") if scenes else "",
    ]
    return ", ".join(part for part in parts if part)


def _bars(buckets: Sequence[Bucket]) -> list[tuple[str, float, float, int, int]]:
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


def _scene_band(scenes: Sequence[Scene], floor: float, end: float) -> alt.Chart:
    """Scenes as a band of alternating shades below the bars, each up to the next."""
    shown = list(scenes[:MOST_SCENES])
    ends = [*(scene.start for scene in shown[1:]), end]
    rows = pd.DataFrame(
        {
            "start": [scene.start for scene in shown],
            "end": ends,
            "shade": [0.55 if number % 2 else 0.25 for number in range(len(shown))],
            "low": floor,
            "high": floor * 0.25,
        }
    )
    band: alt.Chart = (
        alt.Chart(rows)
        .mark_rect(color="gray")
        .encode(
            x="start:Q",
            x2="end:Q",
            y="low:Q",
            y2="high:Q",
            opacity=alt.Opacity("shade:Q", scale=None, legend=None),
        )
    )
    return band


def _excitement(buckets: Sequence[Bucket], top: int) -> alt.Chart:
    """Excitement as a line over the bars, from none at the bottom to the highest at the top."""
    known = [bucket for bucket in buckets if bucket.excitement is not None]
    rows = pd.DataFrame(
        {
            "start": [(bucket.start + bucket.end) / 2 for bucket in known],
            "excitement": [(bucket.excitement or 0.0) / HIGHEST_EXCITEMENT * top for bucket in known],
        }
    )
    line: alt.Chart = (
        alt.Chart(rows).mark_line(strokeWidth=1.5, opacity=0.9, color="gray").encode(x="start:Q", y="excitement:Q")
    )
    return line


def _position(at: tuple[float, float], floor: float, top: int, end: float) -> alt.Chart:
    """Where one is: a line, or the stretch that a page of the gallery shows."""
    least = end / 300  # so that a moment is seen as a line
    rows = pd.DataFrame({"start": [at[0]], "end": [max(at[1], at[0] + least)], "low": [floor], "high": [top]})
    position = alt.Chart(rows).mark_rect(color="gray", opacity=0.4)
    mark: alt.Chart = position.encode(x="start:Q", x2="end:Q", y="low:Q", y2="high:Q")
    return mark


def _targets(buckets: Sequence[Bucket], floor: float, top: int) -> alt.Chart:
    """What a click hits: each stretch in its whole height, with what is in it."""
    rows = pd.DataFrame(
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
    band: alt.Chart = (
        alt.Chart(rows)
        .mark_rect(color="gray", cursor="pointer")
        .encode(
            x="start:Q",
            x2="end:Q",
            y="low:Q",
            y2="high:Q",
            opacity=alt.value(0),
            tooltip=["From:N", "Kept frames:Q", "Described:Q", "Failed:Q"],
        )
        .add_params(alt.selection_point(name=MOMENT, fields=["start"], on="click", clear=False))
    )
    return band


def _clicked(key: str, jump: Callable[[float], None]) -> None:
    chosen = st.session_state[key].selection.get(MOMENT) or []
    if chosen:
        st.session_state[JUMPS] = st.session_state.get(JUMPS, 0) + 1
        jump(float(chosen[0]["start"]))
