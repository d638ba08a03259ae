"""What has been described since a search was made, while the worker still describes.

It only reads, and nothing that is shown moves: new hits are counted, and shown when somebody looks again. Only where
nothing was found yet are they shown by themselves.
"""

from datetime import UTC, datetime

import streamlit as st

from db import runs
from db.counts import totals
from db.models import RunState
from db.search import Found
from enrich.control.status import Health, judge
from enrich.wording import counted
from pages.parts.search.query import Wanted
from pages.parts.search.results import find
from pages.parts.session import reading

EVERY = "3s"


def show_news(wanted: Wanted, found: Found) -> None:
    """How much is described by now, and how many more frames fit than are shown."""
    known = frozenset(hit.frame_id for hit in found.hits)
    with st.container(horizontal=True, vertical_alignment="center", key="search-news"):
        st.fragment(_news, run_every=EVERY)(wanted, known)
        st.button("Look again", help="Show what has been described since", type="tertiary")


def is_working() -> bool:
    """Whether a worker is describing, so that more may be found soon."""
    with reading() as connection:
        run = runs.last_run(connection)
    return run is not None and run.state is RunState.RUNNING and judge(run, datetime.now(UTC))[0] is Health.WELL


def _news(wanted: Wanted, known: frozenset[int]) -> None:
    new = sum(hit.frame_id not in known for hit in find(wanted).hits)
    if not is_working() or (new and not known):
        st.rerun()
    with reading() as connection:
        counts = totals(connection)
    described = f"{counts.described:,} of {counts.kept:,} frames are described so far"
    st.caption(f"{described}; {counted(new, 'new frame')} found since." if new else f"{described}.")
