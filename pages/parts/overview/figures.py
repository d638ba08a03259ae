"""The figures of the overview: status cards, model and hosts, a chart of frames per minute, the latest frames.

All keep their size while they refresh, so that nothing on the page moves.
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
from enrich.control.status_wording import covered_text, frames_text, time_left_text
from enrich.settings import Settings
from enrich.wording import format_bytes, format_count, format_timestamp, markdown_text, one_line, printable
from pages.parts.overview.status import OverviewStatus
from pages.parts.session import reading
from pages.parts.view import image_url

ENRICHMENT = "🧠 Enrichment Progress"
NO_VALUE = "–"
BYTES_PER_MB = 1_000_000
PRECISE_BELOW_PER_MINUTE = 10  # frames; slower rates are shown with one decimal
NAME_CHARACTERS = 36  # two lines at most
ENRICHMENT_HEIGHT_PIXELS = 194  # the same whether the name takes one line or two
REASON_CHARACTERS = 200
MIN_CHART_MINUTES, MAX_CHART_MINUTES = 30, 360
CHART_HEIGHT_PIXELS = 220
LATEST_FRAMES = 6
LATEST_WIDTH_PIXELS, LATEST_HEIGHT_PIXELS = 168, 236
TEXT_CHARACTERS, TITLE_CHARACTERS = 70, 24
HOST_STATES: dict[str, str] = {
    HostState.PROBING: "loading and checking the model",
    HostState.BACKING_OFF: "paused after an error",
    HostState.STOPPED: "stopped",
}


def draw_cards(now: OverviewStatus, settings: Settings) -> None:
    """Five cards: videos, coverage, speed, disk space, and enrichment progress."""
    with st.container(key="status-cards"):
        columns = st.columns([1.05, 1.2, 1.5, 1.1, 1.9])
        with columns[0]:
            _videos(now.status)
        with columns[1]:
            _covered(now.status)
        with columns[2]:
            _speed(now.status)
        with columns[3]:
            _disk(settings)
        with columns[4]:
            _enrichment(now)


def rate_text(rate: float) -> str:
    """A rate in frames per second, as frames per minute."""
    per_minute = rate * 60
    return f"{per_minute:.1f}" if per_minute < PRECISE_BELOW_PER_MINUTE else f"{per_minute:,.0f}"


def _videos(found: Status) -> None:
    _card("Videos", f"{found.videos:,}", f"{found.videos_decoded:,} extracted")


def _covered(found: Status) -> None:
    done = found.completion
    if done.source_frames:
        _card("Covered so far", f"{done.percent} %", covered_text(found))
    else:
        _card("Covered so far", format_count(done.covered, "frame"), "total not known yet")


def _speed(found: Status) -> None:
    left = time_left_text(found, datetime.now().astimezone())
    _card("Frames per minute", rate_text(found.rate) if found.rate else NO_VALUE, left)


def _disk(settings: Settings) -> None:
    try:
        free = shutil.disk_usage(settings.home).free
    except OSError:
        _card("Free disk space", NO_VALUE, "cannot be read")
        return
    reserve = settings.disk_reserve_mb * BYTES_PER_MB
    if free < reserve:
        _card("Free disk space", format_bytes(free), f"paused below {format_bytes(reserve)}", is_bad=True)
    else:
        _card("Free disk space", format_bytes(free), f"{format_bytes(reserve)} kept free")


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
    damaged = f", {len(found.damaged):,} damaged" if found.damaged else ""
    current = "nothing"
    if now.current is not None:
        current = f"{markdown_text(now.current.name, NAME_CHARACTERS)} ({now.current.percent} % complete)"
    with st.container(border=True, height=ENRICHMENT_HEIGHT_PIXELS, gap="xxsmall"):
        st.markdown(f"**{ENRICHMENT}**")
        st.markdown(f"Videos enriched: **{found.videos_enriched:,}/{found.videos:,}**{damaged}")
        st.markdown(f"Frames analyzed: **{frames_text(found)}**")
        st.markdown(f"Current: {current}")
        st.progress(found.completion.share or 0.0)


def draw_hosts(found: Status, settings: Settings) -> None:
    """The model and its hosts: the running worker's, else those of the settings. One line per host."""
    st.text("\n".join(printable(line) for line in host_lines(found, settings)))


def host_lines(found: Status, settings: Settings) -> list[str]:
    """The text of `draw_hosts`: a line for each host, then warnings of the health checks."""
    options = found.run.options if found.run is not None and found.is_running else {}
    describer = options.get("describer") or settings.describer
    if describer == "baseline":
        return ["No model: the baseline measures brightness, colours, sharpness and motion"]
    model = options.get("model") or settings.model
    hosts = options.get("hosts") or list(settings.ollama_hosts)
    active = {host.host: host for host in found.hosts} if found.is_running else {}
    worker_reason = found.run.reason if found.run is not None else None
    lines = [f"{model} at {host}{_activity(active[host], worker_reason) if host in active else ''}" for host in hosts]
    lines += [host.warning for host in active.values() if host.warning]
    return lines


def _activity(host: HostStatus, worker_reason: str | None) -> str:
    """What a host is doing, and why it is not serving, unless the status line gives the same reason."""
    if host.state == HostState.SERVING:
        return f": {format_count(len(host.calls), 'frame')} in progress"
    reason = f" ({one_line(host.reason, REASON_CHARACTERS)})" if host.reason and host.reason != worker_reason else ""
    return f": {HOST_STATES.get(host.state, host.state)}{reason}"


def draw_minutes(run: RunRow, *, is_running: bool) -> None:
    """A chart of the run's frames per minute, up to now or to the run's end."""
    end = datetime.now(UTC) if is_running else run.heartbeat_at
    minutes = int((end - run.started_at) / timedelta(minutes=1)) + 2
    minutes = min(MAX_CHART_MINUTES, max(MIN_CHART_MINUTES, minutes))
    with reading() as connection:
        counts = frames_by_minute(connection, run_id=run.id, now=end, minutes=minutes)
    table = pd.DataFrame(
        {
            # Without a time zone: a browser would convert the hours to its own.
            "minute": [moment.astimezone().replace(tzinfo=None) for moment, _ in counts],
            "frames": [count for _, count in counts],
        }
    )
    total = sum(table["frames"])
    st.altair_chart(
        _chart(table),
        height=CHART_HEIGHT_PIXELS,
        key="minutes",
        alt=f"Frames described per minute in the last {minutes} minutes of the run: "
        f"{format_count(total, 'frame')}, at most {max(table['frames']):,} per minute",
    )


def _chart(table: pd.DataFrame) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("yearmonthdatehoursminutes(minute):T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y("frames:Q", title="Frames per minute", axis=alt.Axis(tickMinStep=1, tickCount=4, format=",d")),
            tooltip=[
                alt.Tooltip("minute:T", format="%H:%M", title="Time"),
                alt.Tooltip("frames:Q", title="Frames"),
            ],
        )
    )
    return chart


def draw_latest() -> None:
    """The latest described frames, each a link to its page."""
    with reading() as connection:
        cards = latest(connection, limit=LATEST_FRAMES)
    with st.container(horizontal=True, key="latest-frames", gap="small"):
        for card in cards:
            # Keyed by frame: while an image loads, no other frame's image may be seen above this text.
            with st.container(
                width=LATEST_WIDTH_PIXELS,
                height=LATEST_HEIGHT_PIXELS,
                border=False,
                gap="xxsmall",
                key=f"latest-{card.id}",
            ):
                _draw(card)


def _draw(card: LatestCard) -> None:
    text = printable(one_line(card.text, TEXT_CHARACTERS))
    st.image(image_url(card.id), width="stretch", alt=text or "Frame without a description")
    st.page_link(
        "pages/frames.py",
        label=f"{markdown_text(card.title, TITLE_CHARACTERS)} · {format_timestamp(card.timestamp).split('.')[0]}",
        query_params={"video": str(card.video_id), "frame": str(card.id)},
    )
    st.text(text)
