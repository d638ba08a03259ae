"""Library: the films as cards, one film with its actions (`?video=3`), and adding more (`?do=add`)."""

import streamlit as st

from db import queries, runs
from enrich.process import is_alive
from pages.parts.library.adding import add_part, additions
from pages.parts.library.cards import PAGE, cards
from pages.parts.library.video import say_removed, video_part
from pages.parts.session import reading

with reading() as connection:
    rows = queries.videos(connection)
    live = runs.live_runs(connection)
registered = frozenset(row.path for row in rows)
is_live = any(is_alive(run) for run in live)
video = st.query_params.get("video", "")
st.query_params.from_dict(st.query_params.to_dict())  # a link within a page leaves the browser's address as it was

if video.isdecimal():
    st.page_link(PAGE, label="All films", icon=":material/arrow_back:")
    video_part(int(video), is_live=is_live)
elif st.query_params.get("do") == "add" or not rows:
    if rows:
        st.page_link(PAGE, label="All films", icon=":material/arrow_back:")
    st.title("Add films")
    say_removed()
    if not rows:
        st.text("The library is empty. Choose the films or folders that EveryFrame shall describe.")
    additions(registered)
    add_part(registered)
else:
    st.title("Library")
    say_removed()
    st.page_link(PAGE, label="Add films", icon=":material/add:", query_params={"do": "add"})
    additions(registered)
    cards(rows, is_live=is_live)
