"""Library: videos as cards, one video with its actions (`?video=3`), and adding videos (`?do=add`)."""

import streamlit as st

from db import queries, runs
from enrich.process import is_alive
from pages.parts.library.adding import draw_add_form, draw_add_jobs
from pages.parts.library.cards import PAGE, draw_cards
from pages.parts.library.video import draw_removed, draw_video
from pages.parts.session import reading

with reading() as connection:
    rows = queries.videos(connection)
    live = runs.live_runs(connection)
registered = frozenset(path for row in rows for path in (row.path, *row.locations))
is_live = any(is_alive(run) for run in live)
video = st.query_params.get("video", "")
st.query_params.from_dict(st.query_params.to_dict())  # links within a page do not change the browser's address

if video.isdecimal():
    st.page_link(PAGE, label="All videos", icon=":material/arrow_back:")
    draw_video(int(video), is_live=is_live)
elif st.query_params.get("do") == "add" or not rows:
    if rows:
        st.page_link(PAGE, label="All videos", icon=":material/arrow_back:")
    st.title("Add videos")
    draw_removed()
    if not rows:
        st.text("The library is empty. Choose videos or folders to add.")
    draw_add_jobs(registered)
    draw_add_form(registered)
else:
    st.title("Library")
    draw_removed()
    st.page_link(PAGE, label="Add videos", icon=":material/add:", query_params={"do": "add"})
    draw_add_jobs(registered)
    draw_cards(rows, is_live=is_live)
