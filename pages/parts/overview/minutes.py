"""A chart of how many frames were described in each minute of the run."""

from datetime import UTC, datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from db.pace import described_by_minute
from db.runs import RunRow
from enrich.wording import counted
from pages.parts.session import reading

MOST_MINUTES = 360
FEWEST_MINUTES = 30  # a run of two minutes is no chart
HEIGHT = 220  # pixels


def draw_minutes(run: RunRow, *, is_running: bool) -> None:
    """The chart of a run; of one that has ended, its last hours."""
    end = datetime.now(UTC) if is_running else run.heartbeat_at
    minutes = int((end - run.started_at) / timedelta(minutes=1)) + 2
    minutes = min(MOST_MINUTES, max(FEWEST_MINUTES, minutes))
    with reading() as connection:
        counts = described_by_minute(connection, run_id=run.id, now=end, minutes=minutes)
    table = pd.DataFrame(
        {
            # Without a zone: a browser would move the hours into its own.
            "minute": [moment.astimezone().replace(tzinfo=None) for moment, _ in counts],
            "frames": [count for _, count in counts],
        }
    )
    total = sum(table["frames"])
    st.altair_chart(
        _chart(table),
        height=HEIGHT,
        key="minutes",
        alt=f"Frames described in each of the last {minutes} minutes of the run: "
        f"{counted(total, 'frame')}, at most {max(table['frames']):,} a minute",
    )


def _chart(table: pd.DataFrame) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("yearmonthdatehoursminutes(minute):T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("frames:Q", title="Frames a minute", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            tooltip=[
                alt.Tooltip("minute:T", format="%H:%M", title="At"),
                alt.Tooltip("frames:Q", title="Frames"),
            ],
        )
    )
    return chart
