"""Costs: what the quick and the deep pass took, what the deep one would have cost elsewhere, and the quick look."""

from datetime import UTC, datetime

import streamlit as st

from db.batches import pending_usd
from db.costs import model_costs, video_costs
from enrich.costs import compare, spent_this_month
from enrich.errors import EveryFrameError
from pages.parts.costs.figures import draw_cards, draw_elsewhere, draw_headline, draw_models, draw_table, draw_videos
from pages.parts.costs.quick_look import draw_progress, question
from pages.parts.plain import shown
from pages.parts.session import reading, settings

LIBRARY = "pages/library.py"

st.title("Costs")
found = settings()
with reading() as connection:
    films = video_costs(connection)
    models = model_costs(connection)
    spent = spent_this_month(connection, datetime.now(UTC))
    promised = pending_usd(connection)
try:
    comparison = compare(films, found)
except EveryFrameError as error:
    st.error("The prices cannot be read, so nothing can be compared.")
    st.text(shown(error))
    st.stop()
question(found)
draw_headline(comparison.total)
draw_cards(comparison.total, spent=spent, promised=promised, found=found)
if not films:
    st.page_link(LIBRARY, label="Add films")
    st.stop()
draw_progress(found, films)
if comparison.total.deep.frames:
    st.subheader("What the deep pass would have cost", anchor=False)
    draw_elsewhere(comparison.total)
if comparison.total.deep.frames or comparison.total.quick.frames:
    st.subheader("Frames by film", anchor=False)
    draw_videos(comparison.videos)
st.subheader("All figures", anchor=False)
draw_table(comparison)
with st.expander("By model"):
    draw_models(models)
