"""The charts of the costs page: what the deep pass would have cost elsewhere, and frames by film."""

from collections.abc import Sequence

import altair as alt
import pandas as pd
import streamlit as st

from enrich.costs.comparison import Bill, FilmBill
from enrich.wording import counted, dollars, first_line
from pages.parts.plain import shown

HERE = "Here, by your own model"
QUICK, DEEP = "Quick pass", "Deep pass"
BAR_HEIGHT = 38  # pixels
MOST_FILMS = 12
LONGEST_TITLE = 28  # characters


def draw_elsewhere(total: Bill) -> None:
    """A bar a model: the deep pass here and with each of Claude's models."""
    names = [HERE, *(model.title for model in total.elsewhere)]
    sums = [total.deep.usd, *(model.usd for model in total.elsewhere)]
    rows = pd.DataFrame({"model": names, "usd": sums, "said": [dollars(usd) for usd in sums]})
    place = alt.Y("model:N", sort=names, title=None, axis=alt.Axis(labelLimit=220))
    length = alt.X("usd:Q", title="US dollars", axis=alt.Axis(tickCount=4, format="$,.4~g"))
    base = alt.Chart(rows).encode(y=place, x=length, tooltip=[alt.Tooltip("model:N"), alt.Tooltip("said:N")])
    numbers = base.mark_text(align="left", dx=4).encode(text="said:N")
    st.altair_chart(
        alt.LayerChart(layer=[base.mark_bar(), numbers]),
        height=BAR_HEIGHT * len(names) + 50,
        key="elsewhere",
        alt=f"What describing {counted(total.deep.frames, 'frame')} would have cost: "
        + ", ".join(f"{name} {said}" for name, said in zip(names, rows["said"], strict=True)),
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
            y=alt.Y("film:N", sort=names, title=None, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("pass:N", sort=[QUICK, DEEP]),
            x=alt.X("frames:Q", title="Frames described", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            color=colour,
            tooltip=["film:N", "pass:N", "frames:Q", "cost:N"],
        )
    )
    left_out = len(films) - len(most)
    st.altair_chart(
        chart,
        height=BAR_HEIGHT * len(names) + 80,
        key="films",
        alt=f"Frames described by the quick and the deep pass, for {counted(len(names), 'film')}",
    )
    if left_out:
        st.caption(f"{counted(left_out, 'film')} with fewer frames are in the table only.")
