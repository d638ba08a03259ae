"""Search: one search box over all descriptions and tags."""

import streamlit as st

from db import gallery, queries
from pages.parts.search import results
from pages.parts.search.query import current_query, draw_search_box, playing_frame
from pages.parts.session import reading

st.title("Search")
query = current_query()
with reading() as connection:
    videos = queries.videos(connection)
    titles = {video.id: video.title for video in videos}
    tags = gallery.tags(connection, query.video) if query.video in titles else []
query = draw_search_box(titles, [tag for tag, _ in tags])
is_describing = results.is_describing()
state = {
    "has_videos": bool(videos),
    "has_descriptions": any(video.described for video in videos),
    "is_describing": is_describing,
}
if query.is_empty:
    results.draw_tips(**state)
else:
    found = results.find(query)
    if is_describing:
        results.draw_updates(query, found)
    if found.hits:
        results.draw_results(query, found, titles)
    else:
        results.draw_no_results(query, **state)
if (frame_id := playing_frame()) is not None:
    results.open_player(frame_id)
