"""The figures of the Costs page: headline, cards, charts, and the table by video with its CSV download."""

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
from enrich.wording import (
    format_count,
    format_duration,
    format_usd,
    markdown_text,
    one_line,
    printable,
    spreadsheet_text,
)

NO_VALUE = "–"
LOCAL = "This computer"
QUICK, DEEP = "Quick scan", "Description"
BAR_HEIGHT, MARGIN_HEIGHT, LEGEND_HEIGHT, LABEL_WIDTH = 40, 60, 60, 240  # pixels
MOST_CHART_VIDEOS = 12
TITLE_CHARACTERS = 28
CSV_FILE = "everyframe-costs.csv"
DOLLAR_FORMAT = "$%.4f"
PASS_LABELS = {"quick": "quick scan", "deep": "description", "audition": "model comparison"}


def draw_headline(total: CostSummary) -> None:
    """Compare both passes in one line, or say which one is still missing."""
    line = summary_line(total)
    if line is not None:
        st.subheader(line.replace("$", r"\$"), anchor=False)  # two unescaped dollar signs would start LaTeX
    elif total.quick.frames:
        st.info("Only quick scans so far. No frames have been described yet.")
    elif total.deep.frames:
        st.info("No quick scans yet, so there is nothing to compare with.")
    else:
        st.info("No costs yet. No frames have been described.")


def draw_cards(total: CostSummary, *, spent: float, reserved: float, current: Settings) -> None:
    """Draw the cost of each pass, the savings, and this month's budget. `spent`, `reserved`: US dollars."""
    quick, deep = total.quick, total.deep
    columns = st.columns(4)
    with columns[0]:
        tokens = quick.prompt_tokens + quick.output_tokens
        _card(QUICK, format_usd(quick.usd), f"{format_count(quick.frames, 'frame')}, {tokens:,} tokens")
    with columns[1]:
        duration = f" in {format_duration(deep.seconds)}" if deep.calls else ""
        _card(DEEP, format_usd(deep.usd), f"{format_count(deep.frames, 'frame')}{duration}")
    with columns[2]:
        cheapest = min(total.alternatives, key=lambda model: model.usd)
        saved = max(0.0, cheapest.usd - deep.usd)
        _card("Saved at least", format_usd(saved) if deep.frames else NO_VALUE, f"compared with {cheapest.title}")
    with columns[3]:
        _card("This month", format_usd(spent), f"of {format_usd(current.monthly_budget_usd)} budget")
    if reserved:
        st.caption(
            markdown_text(f"Up to {format_usd(reserved)} more is reserved for requests and batches in progress.")
        )
    if total.electricity is not None:
        st.caption(
            f"Electricity for descriptions: {electricity_text(total.electricity)} in your currency, at "
            f"{current.power_watts:g} W and {current.kwh_price:g} per kWh."
        )
    else:
        st.caption(
            "Electricity is not included. Enter your computer's power draw and the price per kWh on the Setup page."
        )


def draw_models(models: Sequence[ModelCost]) -> None:
    """List the calls and the cost by model and pass, and what was paid for removed videos."""
    for model in models:
        purpose = PASS_LABELS.get(model.pass_, f"{model.pass_} pass")
        calls = f"{format_count(model.calls, 'image')}, {model.prompt_tokens:,} tokens in, {model.output_tokens:,} out"
        st.markdown(
            f"{markdown_text(model.model)}, {markdown_text(purpose)}: {calls}, {markdown_text(format_usd(model.usd))}"
        )
    removed = sum(model.removed_usd for model in models)
    if removed:
        st.caption(markdown_text(f"Includes {format_usd(removed)} for videos that have been removed from the library."))


def _card(label: str, value: str, detail: str) -> None:
    st.metric(
        label,
        markdown_text(value),
        markdown_text(detail),
        delta_color="gray",
        delta_arrow="off",
        border=True,
        height="stretch",
    )


def draw_elsewhere(total: CostSummary) -> None:
    """Draw a bar per model: the cost of the deep pass here, and what it would have been with each Claude model."""
    costs = [(LOCAL, total.deep.usd), *((model.title, model.usd) for model in total.alternatives)]
    names = [f"{name} · {format_usd(usd)}" for name, usd in costs]
    rows = pd.DataFrame({"model": names, "usd": [usd for _, usd in costs]})
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("model:N", sort=names, title=None, axis=alt.Axis(labelLimit=LABEL_WIDTH)),
            x=alt.X("usd:Q", title="US dollars", axis=alt.Axis(tickCount=4, format="$,.4~g")),
            tooltip=[alt.Tooltip("model:N", title="Model"), alt.Tooltip("usd:Q", title="US dollars", format="$,.3f")],
        )
    )
    st.altair_chart(
        chart,
        height=BAR_HEIGHT * len(names) + MARGIN_HEIGHT,
        key="elsewhere",
        alt=f"Cost of describing {format_count(total.deep.frames, 'frame')} by model: {', '.join(names)}",
    )


def draw_videos(videos: Sequence[VideoCostSummary]) -> None:
    """Draw the frames described by video and pass, for the videos with the most."""
    most = sorted(videos, key=lambda each: (-each.summary.deep.frames - each.summary.quick.frames, each.video.video_id))
    most = most[:MOST_CHART_VIDEOS]
    # The id keeps videos with the same title apart.
    names = [f"{each.video.video_id} {printable(one_line(each.video.title, TITLE_CHARACTERS))}" for each in most]
    rows = pd.DataFrame(
        [
            {"video": name, "pass": label, "frames": spent.frames, "cost": format_usd(spent.usd)}
            for name, each in zip(names, most, strict=True)
            for label, spent in ((QUICK, each.summary.quick), (DEEP, each.summary.deep))
        ]
    )
    color = alt.Color(
        "pass:N", scale=alt.Scale(domain=[QUICK, DEEP]), legend=alt.Legend(orient="top", title=None, offset=2)
    )
    chart = (
        alt.Chart(rows)
        .mark_bar()
        .encode(
            y=alt.Y("video:N", sort=names, title=None, axis=alt.Axis(labelLimit=LABEL_WIDTH)),
            yOffset=alt.YOffset("pass:N", sort=[QUICK, DEEP]),
            x=alt.X("frames:Q", title="Frames described", axis=alt.Axis(tickMinStep=1, tickCount=5)),
            color=color,
            tooltip=[
                alt.Tooltip("video:N", title="Video"),
                alt.Tooltip("pass:N", title="Pass"),
                alt.Tooltip("frames:Q", title="Frames"),
                alt.Tooltip("cost:N", title="Cost"),
            ],
        )
    )
    hidden = len(videos) - len(most)
    st.altair_chart(
        chart,
        height=BAR_HEIGHT * len(names) + MARGIN_HEIGHT + LEGEND_HEIGHT,
        key="videos",
        alt=f"Frames with a quick scan and with a description, for {format_count(len(names), 'video')}",
    )
    if hidden:
        st.caption(f"The table below has {hidden:,} more with fewer frames.")


def draw_table(comparison: CostComparison) -> None:
    """Draw the table by video, and the button that downloads it."""
    listed = rows(comparison)
    columns: dict[str, Any] = {
        "film": st.column_config.TextColumn("Video", width="medium", pinned=True),
        "quick_frames": st.column_config.NumberColumn("Quick scan: frames", format="localized"),
        "quick_tokens": st.column_config.NumberColumn("Quick scan: tokens", format="localized"),
        "quick_usd": st.column_config.NumberColumn("Quick scan: cost", format=DOLLAR_FORMAT),
        "deep_frames": st.column_config.NumberColumn("Description: frames", format="localized"),
        "deep_time": st.column_config.TextColumn("Description: time"),
        "deep_usd": st.column_config.NumberColumn("Description: cost", format=DOLLAR_FORMAT),
    }
    if comparison.total.electricity is not None:
        columns["deep_electricity"] = st.column_config.NumberColumn("Description: electricity", format="%.3f")
    for model in comparison.total.alternatives:
        columns[f"{model.model}_usd"] = st.column_config.NumberColumn(
            f"Description with {printable(model.title)}", format=DOLLAR_FORMAT
        )
    table = pd.DataFrame(
        [
            row
            | {
                "film": spreadsheet_text(row["film"]),  # the table has a download of its own
                "quick_tokens": row["quick_prompt_tokens"] + row["quick_output_tokens"],
                "deep_time": format_duration(row["deep_seconds"]) if row["deep_calls"] else "",
            }
            for row in listed
        ],
        columns=list(columns),
    )
    st.dataframe(table, hide_index=True, column_config=columns, key="costs-table")
    st.download_button(
        "Download as CSV", to_csv(listed), CSV_FILE, "text/csv", icon=":material/download:", on_click="ignore"
    )
    source = printable(comparison.prices_source).removeprefix("https://")
    st.caption(
        markdown_text(f"Claude prices as of {comparison.prices_as_of:%d %B %Y}, from {source}; batches cost half.")
    )


def to_csv(listed: list[dict[str, Any]]) -> str:
    """The rows as CSV, with titles quoted so that no spreadsheet evaluates one as a formula."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(listed[0]), lineterminator="\r\n")
    writer.writeheader()
    for row in listed:
        writer.writerow(row | {"film": spreadsheet_text(row["film"])})
    return out.getvalue()
