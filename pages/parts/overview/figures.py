"""The status cards: five of a fixed shape, so that they can be drawn anew without moving.

Which model describes, and where: one line a host, so that nothing moves when a host begins.

A chart of how many frames were described in each minute of the run.

The last described frames, as they come: all as high, so that nothing moves.
"""

import shutil
from datetime import UTC, datetime, timedelta

import altair as alt
import pandas as pd
import streamlit as st

from db.counts import frames_by_minute
from db.gallery import LatestCard, latest
from db.models import HostState
from db.runs import RunRow
from enrich.control.status import HostStatus, Status
from enrich.settings import Settings
from enrich.wording import clock, counted, first_line, moment, size, span
from pages.parts.overview.status import OverviewStatus
from pages.parts.plain import plain, shown
from pages.parts.session import reading
from pages.parts.view import image_url

ENRICHMENT = "🧠 Enrichment Progress"  # the user's own title
MEGABYTE = 1_000_000
NOTHING = "–"
LONGEST_NAME = 36  # characters: two lines at the most
CARD_HEIGHT = 194  # pixels: the same whether the name takes one line or two
SLOW_A_MINUTE = 10  # below, tenths say something
LONGEST_REASON = 200  # characters
MOST_MINUTES = 360
FEWEST_MINUTES = 30  # a run of two minutes is no chart
MINUTES_HEIGHT = 220  # pixels
PLACES = 6
WIDTH, LATEST_HEIGHT = 168, 236  # pixels of a card
LONGEST_TEXT = 70  # characters
LONGEST_TITLE = 24


def draw_cards(now: OverviewStatus, settings: Settings) -> None:
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


def _enrichment(now: OverviewStatus) -> None:
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


def draw_hosts(found: Status, settings: Settings) -> None:
    """The model and the hosts: of the worker while one is there, else of the settings."""
    st.text("\n".join(shown(line) for line in host_lines(found, settings)))


def host_lines(found: Status, settings: Settings) -> list[str]:
    """What is said of the model and the hosts."""
    options = found.run.options if found.run is not None and found.is_running else {}
    describer = options.get("describer") or settings.describer
    if describer == "baseline":
        return ["No model: the baseline measures light, colours, sharpness and motion"]
    model = options.get("model") or settings.model
    hosts = options.get("hosts") or list(settings.ollama_hosts)
    at_work = {host.host: host for host in found.hosts} if found.is_running else {}
    known = found.run.reason if found.run is not None else None
    lines = [f"{model} at {host}{_doing(at_work[host], known) if host in at_work else ''}" for host in hosts]
    lines += [host.warning for host in at_work.values() if host.warning]
    return lines


def _doing(host: HostStatus, known: str | None) -> str:
    """What a host is doing; why it does not work, unless the worker gives that as its own reason."""
    if host.state == HostState.SERVING:
        return f": {counted(len(host.calls), 'frame')} in hand"
    reason = f": {first_line(host.reason, LONGEST_REASON)}" if host.reason and host.reason != known else ""
    return f" {HOST_STATES.get(host.state, host.state)}{reason}"


HOST_STATES: dict[str, str] = {
    HostState.PROBING: "is loading the model",
    HostState.BACKING_OFF: "is left alone for a moment",
    HostState.STOPPED: "is not asked now",
}


def draw_minutes(run: RunRow, *, is_running: bool) -> None:
    """The chart of a run; of one that has ended, its last hours."""
    end = datetime.now(UTC) if is_running else run.heartbeat_at
    minutes = int((end - run.started_at) / timedelta(minutes=1)) + 2
    minutes = min(MOST_MINUTES, max(FEWEST_MINUTES, minutes))
    with reading() as connection:
        counts = frames_by_minute(connection, run_id=run.id, now=end, minutes=minutes)
    table = pd.DataFrame(
        {
            # Without a zone: a browser would move the hours into its own.
            "minute": [moment.astimezone().replace(tzinfo=None) for moment, _ in counts],
            "frames": [count for _, count in counts],
        }
    )
    total = sum(table["frames"])
    st.altair_chart(
        _chart(table),
        height=MINUTES_HEIGHT,
        key="minutes",
        alt=f"Frames described in each of the last {minutes} minutes of the run: "
        f"{counted(total, 'frame')}, at most {max(table['frames']):,} a minute",
    )


def _chart(table: pd.DataFrame) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("yearmonthdatehoursminutes(minute):T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("frames:Q", title="Frames a minute", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            tooltip=[
                alt.Tooltip("minute:T", format="%H:%M", title="At"),
                alt.Tooltip("frames:Q", title="Frames"),
            ],
        )
    )
    return chart


def draw_latest() -> None:
    """The last described frames, each a link to its own page."""
    with reading() as connection:
        cards = latest(connection, limit=PLACES)
    with st.container(horizontal=True, key="latest-frames", gap="small"):
        for card in cards:
            # By its frame: a picture is never seen above another frame's words, while the next one is loaded.
            with st.container(width=WIDTH, height=LATEST_HEIGHT, border=False, gap="xxsmall", key=f"latest-{card.id}"):
                _draw(card)


def _draw(card: LatestCard) -> None:
    text = shown(first_line(card.text, LONGEST_TEXT))
    st.image(image_url(card.id), width="stretch", alt=text or "A frame without a description")
    st.page_link(
        "pages/frames.py",
        label=f"{plain(card.title, LONGEST_TITLE)} · {clock(card.timestamp).split('.')[0]}",
        query_params={"video": str(card.video_id), "frame": str(card.id)},
    )
    st.text(text)
