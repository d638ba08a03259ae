"""Overview: what is in the library and how far it is. It only reads; the command line does the work."""

import pandas as pd
import streamlit as st

from db import queries
from db.engine import reading
from pages.parts.session import engine

REFRESH = "2s"


@st.fragment(run_every=REFRESH)
def overview() -> None:
    """Counts and a table, drawn anew while the page is open."""
    with reading(engine()) as connection:
        videos = queries.videos(connection)
    if not videos:
        st.info("The library is empty. Add a film or a folder: `everyframe add PATH`")
        return
    kept, described = sum(video.kept for video in videos), sum(video.described for video in videos)
    enriched = sum(video.enrichment_status == "enriched" for video in videos)
    columns = st.columns(4)
    columns[0].metric("Videos enriched", f"{enriched} / {len(videos)}")
    columns[1].metric("Kept frames described", f"{described:,} / {kept:,}")
    columns[2].metric("Source frames covered", f"{sum(video.covered for video in videos):,}")
    columns[3].metric("Frames failed", f"{sum(video.failed for video in videos):,}")
    st.dataframe(
        pd.DataFrame(
            {
                "Title": [video.title for video in videos],
                "Seconds": [video.duration for video in videos],
                "Source frames": [video.frame_count for video in videos],
                "Kept": [video.kept for video in videos],
                "Described": [video.described for video in videos],
                "Failed": [video.failed for video in videos],
                "Extraction": [video.extraction_status.value for video in videos],
                "Enrichment": [video.enrichment_status.value for video in videos],
                "Error": [video.error for video in videos],
            }
        ),
        hide_index=True,
    )


st.title("EveryFrame")
overview()
