"""The headline and the cards of the costs page.

The charts of the costs page: what the deep pass would have cost elsewhere, and frames by film.

The costs by film, as a table that can be downloaded.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from db.costs import ModelCost
from enrich.costs import CostComparison, CostSummary, VideoCostSummary, electricity_text, rows, summary_line
from enrich.settings import Settings
from enrich.wording import counted, dollars, first_line, span
from pages.parts.plain import plain, shown

NOTHING = "–"
HERE = "Here"
QUICK, DEEP = "Quick pass", "Deep pass"
BAR_HEIGHT, MARGIN, LABEL_WIDTH = 40, 60, 240  # pixels
LEGEND = 60  # pixels
MOST_VIDEOS = 12
LONGEST_TITLE = 28  # characters
FILE = "everyframe-costs.csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would reckon with
MONEY = "$%.4f"


def draw_headline(total: CostSummary) -> None:
    """Both passes side by side, or what is still to be done before they can be compared."""
    line = summary_line(total)
    if line is not None:
        st.subheader(line.replace("$", r"\$"), anchor=False)  # two of them would make a formula
    elif total.quick.frames:
        st.info("The quick pass is done. The deep pass, which describes every frame, has not begun yet.")
    elif total.deep.frames:
        st.info("No film has had a quick look yet: the deep pass alone has worked here.")
    else:
        st.info("Nothing has been described yet, so nothing has cost anything.")


def draw_cards(total: CostSummary, *, spent: float, promised: float, found: Settings) -> None:
    """What each pass took, what was saved, and this month's budget."""
    quick, deep = total.quick, total.deep
    columns = st.columns(4)
    with columns[0]:
        tokens = quick.prompt_tokens + quick.output_tokens
        _card("Quick pass", dollars(quick.usd), f"{counted(quick.frames, 'frame')}, {tokens:,} tokens")
    with columns[1]:
        took = f" in {span(deep.seconds)}" if deep.calls else ""
        _card("Deep pass", dollars(deep.usd), f"{counted(deep.frames, 'frame')}{took}")
    with columns[2]:
        best = min(total.alternatives, key=lambda model: model.usd)
        saved = max(0.0, best.usd - deep.usd)
        _card("Saved at least", dollars(saved) if deep.frames else NOTHING, f"compared with {best.title}")
    with columns[3]:
        _card("This month", dollars(spent), f"of a budget of {dollars(found.monthly_budget_usd)}")
    if promised:
        st.caption(plain(f"Beside it about {dollars(promised)} is on its way in batches."))
    if total.electricity is not None:
        st.caption(
            f"Electricity of the deep pass: {electricity_text(total.electricity)} in your currency, at "
            f"{found.power_watts:g} watts and {found.kwh_price:g} a kilowatt hour."
        )
    else:
        st.caption(
            "Electricity is not counted: the Setup page asks what your computer draws and what a kilowatt hour costs."
        )


def draw_models(models: Sequence[ModelCost]) -> None:
    """Who has worked, and what was paid for films that are gone."""
    for model in models:
        what = "audition" if model.pass_ == "audition" else f"{model.pass_} pass"  # noqa: S105  # a pass of ours
        calls = f"{counted(model.calls, 'picture')}, {model.prompt_tokens:,} tokens in, {model.output_tokens:,} out"
        st.markdown(f"{plain(model.model)}, {plain(what)}: {calls}, {plain(dollars(model.usd))}")
    removed = sum(model.removed_usd for model in models)
    if removed:
        st.caption(plain(f"{dollars(removed)} of it was for films that are not in the library any more."))


def _card(label: str, value: str, detail: str) -> None:
    st.metric(label, plain(value), plain(detail), delta_color="gray", delta_arrow="off", border=True, height="stretch")


def draw_elsewhere(total: CostSummary) -> None:
    """A bar a model: the deep pass here and with each of Claude's models."""
    sums = [(HERE, total.deep.usd), *((model.title, model.usd) for model in total.alternatives)]
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


def draw_videos(films: Sequence[VideoCostSummary]) -> None:
    """Frames described by film and pass, of the films with the most of them."""
    most = sorted(films, key=lambda each: (-each.summary.deep.frames - each.summary.quick.frames, each.video.video_id))
    most = most[:MOST_VIDEOS]
    # Titles alone may be the same twice.
    names = [f"{each.video.video_id} {shown(first_line(each.video.title, LONGEST_TITLE))}" for each in most]
    rows = pd.DataFrame(
        [
            {"film": name, "pass": which, "frames": spent.frames, "cost": dollars(spent.usd)}
            for name, each in zip(names, most, strict=True)
            for which, spent in ((QUICK, each.summary.quick), (DEEP, each.summary.deep))
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


def draw_table(found: CostComparison) -> None:
    """The table, and the button that saves it."""
    listed = rows(found)
    columns: dict[str, Any] = {
        "film": st.column_config.TextColumn("Film", width="medium", pinned=True),
        "quick_frames": st.column_config.NumberColumn("Quick: frames", format="localized"),
        "quick_tokens": st.column_config.NumberColumn("Quick: tokens", format="localized"),
        "quick_usd": st.column_config.NumberColumn("Quick: cost", format=MONEY),
        "deep_frames": st.column_config.NumberColumn("Deep: frames", format="localized"),
        "deep_time": st.column_config.TextColumn("Deep: time"),
        "deep_usd": st.column_config.NumberColumn("Deep: cost", format=MONEY),
    }
    if found.total.electricity is not None:
        columns["deep_electricity"] = st.column_config.NumberColumn("Deep: electricity", format="%.3f")
    for model in found.total.alternatives:
        columns[f"{model.model}_usd"] = st.column_config.NumberColumn(f"Deep with {shown(model.title)}", format=MONEY)
    table = pd.DataFrame(
        [
            row
            | {
                "film": shown(row["film"]),
                "quick_tokens": row["quick_prompt_tokens"] + row["quick_output_tokens"],
                "deep_time": span(row["deep_seconds"]) if row["deep_calls"] else "",
            }
            for row in listed
        ],
        columns=list(columns),
    )
    st.dataframe(table, hide_index=True, column_config=columns, key="costs-table")
    st.download_button(
        "Download as CSV", as_csv(listed), FILE, "text/csv", icon=":material/download:", on_click="ignore"
    )
    source = shown(found.prices_source).removeprefix("https://")
    st.caption(plain(f"Claude’s prices: {found.prices_as_of:%d %B %Y}, {source}; half in a batch."))


def as_csv(listed: list[dict[str, Any]]) -> str:
    """The rows as CSV, with nothing in it that a spreadsheet would take for a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(listed[0]), lineterminator="\r\n")
    writer.writeheader()
    for row in listed:
        title = shown(row["film"])
        writer.writerow(row | {"film": f"'{title}" if title.startswith(FORMULA) else title})
    return out.getvalue()
