"""The costs by film, as a table that can be downloaded."""

import csv
import io
from typing import Any

import pandas as pd
import streamlit as st

from enrich.costs.comparison import Comparison
from enrich.costs.telling import rows
from enrich.wording import span
from pages.parts.plain import plain, shown

FILE = "everyframe-costs.csv"
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would reckon with
MONEY = "$%.4f"


def draw_table(found: Comparison) -> None:
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
    for model in found.total.elsewhere:
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
