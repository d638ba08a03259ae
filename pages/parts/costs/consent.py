"""The question before a quick look: what is sent, to whom, for how much. Nothing is sent before the answer."""

from collections.abc import Sequence

import streamlit as st

from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.settings import Settings
from enrich.wording import counted
from pages.parts.costs.quote import Quote, quote
from pages.parts.plain import plain, shown
from pages.parts.session import settings

KIND = "quick"
MOST_TITLES = 8
CENT_OF_A_CENT = 0.0001  # dollars, as they are shown: two counts may differ by a few tokens
_ASKED, _ANSWERED, _QUOTES, _FAILED = "quick-asked", "quick-answered", "quick-quotes", "quick-failed"
_BATCH = "quick-batch"


def ask(films: Sequence[tuple[int, str]]) -> None:
    """Have the question asked, for films by id and title, when the page is drawn next."""
    st.session_state[_ASKED] = list(films)
    st.session_state[_ANSWERED] = False
    st.session_state[_QUOTES] = {}


def question(found: Settings) -> None:
    """Draw the question if somebody asked for it."""
    if films := st.session_state.pop(_ASKED, None):
        _question(found, films)


@st.dialog("A quick look?")
def _question(found: Settings, films: list[tuple[int, str]]) -> None:
    """What it comes to, and the choice."""
    if st.session_state.get(_ANSWERED):
        st.rerun()
    st.text(shown(_titles([title for _, title in films])))
    is_claude = found.quick_describer == "claude"
    batch = is_claude and st.checkbox(
        "In a batch, at half the price", key=_BATCH, help="The answers come within a day, mostly within an hour."
    )
    offer = _offer(found, [video_id for video_id, _ in films], batch=batch)
    if isinstance(offer, str):
        st.error(plain(offer))
        st.button("Close", on_click=_answer)
        return
    st.markdown(plain(offer.what))
    if offer.price:
        st.markdown(f"**{plain(offer.price)}**")
    if offer.known and offer.pictures:
        st.caption(f"{counted(offer.known, 'key frame')} were looked at already, and are not paid for again.")
    if offer.problem:
        st.error(plain(offer.problem))
    if problem := st.session_state.pop(_FAILED, None):
        st.error(plain(problem))
    with st.container(horizontal=True):
        if offer.can_be_taken:
            label = f"Send {counted(offer.pictures, 'picture')}" if offer.recipient else "Look at them"
            st.button(label, type="primary", on_click=_take, args=([video_id for video_id, _ in films], offer, batch))
        st.button("Send nothing" if offer.recipient and offer.can_be_taken else "Close", on_click=_answer)


def _offer(found: Settings, video_ids: list[int], *, batch: bool) -> Quote | str:
    """What the command line offers, asked once for each way."""
    quotes: dict[bool, Quote | str] = st.session_state.setdefault(_QUOTES, {})
    if batch not in quotes:
        with st.spinner("Choosing the key frames"):
            quotes[batch] = quote(found, video_ids, batch=batch)
    return quotes[batch]


def _titles(titles: list[str]) -> str:
    more = len(titles) - MOST_TITLES
    named = [" ".join(title.split()) for title in titles[:MOST_TITLES]]
    return "\n".join([*named, *([f"and {counted(more, 'other film')}"] if more > 0 else [])])


def _take(video_ids: list[int], offer: Quote, batch: bool) -> None:
    words = [*map(str, video_ids), "--describer", offer.describer, "--model", offer.model, "--yes"]
    if offer.recipient:
        words += ["--most-usd", f"{offer.most_usd + CENT_OF_A_CENT:.6f}"]  # what was agreed to binds
    if batch:
        words.append("--batch")
    try:
        jobs.start_job(settings(), KIND, "quick", *words)
    except EveryFrameError as error:
        st.session_state[_FAILED] = str(error)
        return
    _answer()


def _answer() -> None:
    st.session_state[_ANSWERED] = True
