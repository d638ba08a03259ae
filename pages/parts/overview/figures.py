"""The status cards: five of a fixed shape, so that they can be drawn anew without moving."""

import shutil
from datetime import datetime

import streamlit as st

from enrich.control.status import Status
from enrich.settings import Settings
from enrich.wording import counted, moment, size, span
from pages.parts.overview.status import Now
from pages.parts.plain import plain

ENRICHMENT = "🧠 Enrichment Progress"  # the user's own title
MEGABYTE = 1_000_000
NOTHING = "–"
LONGEST_NAME = 36  # characters: two lines at the most
CARD_HEIGHT = 194  # pixels: the same whether the name takes one line or two
SLOW_A_MINUTE = 10  # below, tenths say something


def draw_cards(now: Now, settings: Settings) -> None:
    """The five cards."""
    with st.container(key="status-cards"):
        columns = st.columns([1, 1.2, 1.25, 1.15, 1.95])
        with columns[0]:
            _films(now.status)
        with columns[1]:
            _covered(now.status)
        with columns[2]:
            _speed(now.status)
        with columns[3]:
            _disk(settings)
        with columns[4]:
            _enrichment(now)


def rate_text(rate: float) -> str:
    """Frames a second, as frames a minute."""
    minute = rate * 60
    return f"{minute:.1f}" if minute < SLOW_A_MINUTE else f"{minute:,.0f}"


def _films(found: Status) -> None:
    _card("Films", f"{found.videos:,}", f"{found.videos_decoded:,} read through")


def _covered(found: Status) -> None:
    of = "" if found.source_frames is None else f"of {found.source_frames:,}"
    _card("Source frames covered", f"{found.covered:,}", of or "all not counted yet")


def _speed(found: Status) -> None:
    _card("Frames a minute", rate_text(found.rate) if found.rate else NOTHING, time_left(found))


def time_left(found: Status) -> str:
    """How much is left. No time is told before it can be known: while no film has been read to its end, say."""
    is_read = found.videos_decoded == found.videos
    if not found.left and is_read:
        return "nothing is left"
    if found.seconds_left is not None and found.videos_decoded:
        return f"{span(found.seconds_left)} left, until {moment(found.seconds_left, datetime.now().astimezone())}"
    if is_read:
        return f"{counted(found.left, 'frame')} left"
    return f"{counted(found.videos - found.videos_decoded, 'film')} left to read"


def _disk(settings: Settings) -> None:
    try:
        free = shutil.disk_usage(settings.home).free
    except OSError:
        _card("Disk left", NOTHING, "cannot be measured")
        return
    reserve = settings.disk_reserve_mb * MEGABYTE
    if free < reserve:
        _card("Disk left", size(free), f"below the reserve of {size(reserve)}", is_bad=True)
    else:
        _card("Disk left", size(free), f"{size(reserve)} stay in reserve")


def _card(label: str, value: str, detail: str, *, is_bad: bool = False) -> None:
    st.metric(
        label,
        value,
        detail,
        delta_color="red" if is_bad else "gray",
        delta_arrow="off",
        border=True,
        height="stretch",
    )


def _enrichment(now: Now) -> None:
    found = now.status
    so_far = "" if found.videos_decoded == found.videos else " kept so far"
    current = "nothing"
    if now.current is not None:
        current = f"{plain(now.current.name, LONGEST_NAME)} ({now.current.percent} % complete)"
    with st.container(border=True, height=CARD_HEIGHT, gap="xxsmall"):
        st.markdown(f"**{ENRICHMENT}**")
        st.markdown(f"Videos enriched: **{found.videos_enriched:,}/{found.videos:,}**")
        st.markdown(f"Frames analyzed: **{found.described:,}/{found.frames:,}**{so_far}")
        st.markdown(f"Current: {current}")
        st.progress(found.described / found.frames if found.frames else 0.0)
