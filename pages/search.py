"""Search: one box over everything that is said of any frame."""

import streamlit as st

from db import gallery, queries
from pages.parts.search import results
from pages.parts.search.hints import show_hints, show_nothing
from pages.parts.search.query import asked, here, played
from pages.parts.search.results import find, is_working, show, show_news
from pages.parts.session import reading

st.title("Search")
wanted = here()
with reading() as connection:
    videos = queries.videos(connection)
    titles = {video.id: video.title for video in videos}
    tags = gallery.tags(connection, wanted.video) if wanted.video in titles else []
wanted = asked(titles, [tag for tag, _ in tags])
working = is_working()
state = {
    "has_films": bool(videos),
    "is_described": any(video.described for video in videos),
    "is_working": working,
}
if wanted.is_nothing:
    show_hints(**state)
else:
    found = find(wanted)
    if working:
        show_news(wanted, found)
    if found.hits:
        show(wanted, found, titles)
    else:
        show_nothing(wanted, **state)
if (frame_id := played()) is not None:
    results.show_moment(frame_id)
