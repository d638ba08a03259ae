"""Costs: what the quick and the deep pass cost, what the deep pass would have cost elsewhere, and quick scans."""

from datetime import UTC, datetime

import streamlit as st

from db.costs import model_costs, video_costs
from enrich.costs import compare, reserved_this_month, spent_this_month
from enrich.errors import EveryFrameError
from enrich.wording import printable
from pages.parts.costs.figures import draw_cards, draw_elsewhere, draw_headline, draw_models, draw_table, draw_videos
from pages.parts.costs.quick_pass import draw_dialog, draw_panel
from pages.parts.session import reading, settings

LIBRARY = "pages/library.py"

st.title("Costs")
current = settings()
with reading() as connection:
    videos = video_costs(connection)
    models = model_costs(connection)
    now = datetime.now(UTC)
    spent = spent_this_month(connection, now)
    reserved = reserved_this_month(connection, now)
try:
    comparison = compare(videos, current)
except EveryFrameError as error:
    st.error("The price list cannot be read, so costs cannot be compared.")
    st.text(printable(error))
    st.stop()
draw_dialog(current)
draw_headline(comparison.total)
draw_cards(comparison.total, spent=spent, reserved=reserved, current=current)
if not videos:
    st.page_link(LIBRARY, label="Add videos")
    st.stop()
draw_panel(current, videos)
if comparison.total.deep.frames:
    st.subheader("Cost of descriptions by model", anchor=False)
    draw_elsewhere(comparison.total)
if comparison.total.deep.frames or comparison.total.quick.frames:
    st.subheader("Frames by video", anchor=False)
    draw_videos(comparison.videos)
st.subheader("All figures", anchor=False)
draw_table(comparison)
with st.expander("By model"):
    draw_models(models)
