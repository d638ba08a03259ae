"""The charts of the costs page: what the deep pass would have cost elsewhere, and frames by film."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from enrich.costs.comparison import Bill, FilmBill
from enrich.wording import counted, dollars, first_line
from pages.parts.plain import shown

HERE = "Here"
QUICK, DEEP = "Quick pass", "Deep pass"
BAR_HEIGHT, MARGIN, LABEL_WIDTH = 40, 60, 240  # pixels
LEGEND = 60  # pixels
MOST_FILMS = 12
LONGEST_TITLE = 28  # characters


def draw_elsewhere(total: Bill) -> None:
    """A bar a model: the deep pass here and with each of Claude's models."""
    sums = [(HERE, total.deep.usd), *((model.title, model.usd) for model in total.elsewhere)]
    names = [f"{name} · {dollars(usd)}" for name, usd in sums]
    rows = pd.DataFrame({"model": names, "usd": [usd for _, usd in sums]})
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("model:N", sort=names, title=None, axis=alt.Axis(labelLimit=LABEL_WIDTH)),
            x=alt.X("usd:Q", title="US dollars", axis=alt.Axis(tickCount=4, format="$,.4~g")),
            tooltip=[alt.Tooltip("model:N", title="Model"), alt.Tooltip("usd:Q", title="Dollars", format="$,.3f")],
        )
    )
    st.altair_chart(
        chart,
        height=BAR_HEIGHT * len(names) + MARGIN,
        key="elsewhere",
        alt=f"What describing {counted(total.deep.frames, 'frame')} would have cost: {', '.join(names)}",
    )


def draw_films(films: Sequence[FilmBill]) -> None:
    """Frames described by film and pass, of the films with the most of them."""
    most = sorted(films, key=lambda each: (-each.bill.deep.frames - each.bill.quick.frames, each.film.video_id))
    most = most[:MOST_FILMS]
    # Titles alone may be the same twice.
    names = [f"{each.film.video_id} {shown(first_line(each.film.title, LONGEST_TITLE))}" for each in most]
    rows = pd.DataFrame(
        [
            {"film": name, "pass": which, "frames": spent.frames, "cost": dollars(spent.usd)}
            for name, each in zip(names, most, strict=True)
            for which, spent in ((QUICK, each.bill.quick), (DEEP, each.bill.deep))
        ]
    )
    colour = alt.Color(
        "pass:N", scale=alt.Scale(domain=[QUICK, DEEP]), legend=alt.Legend(orient="top", title=None, offset=2)
    )
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("film:N", sort=names, title=None, axis=alt.Axis(labelLimit=LABEL_WIDTH)),
            yOffset=alt.YOffset("pass:N", sort=[QUICK, DEEP]),
            x=alt.X("frames:Q", title="Frames described", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            color=colour,
            tooltip=["film:N", "pass:N", "frames:Q", "cost:N"],
        )
    )
    left_out = len(films) - len(most)
    st.altair_chart(
        chart,
        height=BAR_HEIGHT * len(names) + MARGIN + LEGEND,
        key="films",
        alt=f"Frames described by the quick and the deep pass, for {counted(len(names), 'film')}",
    )
    if left_out:
        st.caption(f"{counted(left_out, 'film')} with fewer frames are in the table only.")
