"""Quick scans from the dashboard: choosing videos, the quote, the user's consent, and the progress in every tab.

The quote comes from the command line (`quick --estimate`). No image leaves the machine before the user has seen it and
agreed, and the agreed maximum price is passed on as a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import streamlit as st

from db.costs import VideoCost
from enrich.errors import EveryFrameError
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult, run_command
from enrich.jobs.jobs import Job
from enrich.settings import Settings
from enrich.wording import format_count, format_usd, markdown_text, one_line, printable
from pages.parts.session import live, settings

KIND = "quick"
QUOTE_TIMEOUT_SECONDS = 300.0  # includes the skim of videos that have none yet
REFRESH = "2s"
SHOW_RESULT_FOR = timedelta(hours=12)
MOST_TITLES = 8
TITLE_CHARACTERS, STEP_CHARACTERS = 60, 160
PRICE_TOLERANCE_USD = 0.0001  # two token counts of the same request may differ slightly
_REQUESTED, _CLOSED, _QUOTES, _START_ERROR = "quick-requested", "quick-closed", "quick-quotes", "quick-start-error"
_VIDEOS, _BATCH, _UNANSWERED = "quick-videos", "quick-batch", "quick-unanswered"


@dataclass(frozen=True, slots=True)
class Quote:
    """What a quick scan would send and cost.

    `recipient` is empty if no image leaves the machine; `problem` says why the scan cannot be started.
    """

    images: int
    scanned: int  # key frames with a result already; not sent again
    in_batches: int  # key frames pending in batches
    uncertain: int  # key frames that may have been paid for without an answer arriving; not sent again
    uncertain_usd: float  # the most that sending these again may cost
    in_progress: int  # key frames that another process is sending
    describer: str
    model: str
    recipient: str
    usd: float  # expected
    most_usd: float  # with replies of the maximum length
    spent_usd: float
    budget_usd: float
    problem: str | None

    @property
    def can_start(self) -> bool:
        """Whether there are images to scan and no problem."""
        return self.images > 0 and self.problem is None

    @property
    def scope_text(self) -> str:
        """What is sent to whom, in a sentence."""
        if not self.images and self.in_batches:
            return f"{format_count(self.in_batches, 'key frame')} pending in a batch. Nothing is sent twice."
        if not self.images and self.in_progress:
            return f"{format_count(self.in_progress, 'key frame')} being scanned. Nothing is sent twice."
        if not self.images and self.uncertain:
            return f"{format_count(self.scanned, 'key frame')} scanned already."
        if not self.images:
            return f"All {format_count(self.scanned, 'key frame')} have been scanned already."
        images = format_count(self.images, "image")
        if not self.recipient:
            return f"{self.model} scans {images} on this computer, free of charge. Nothing is sent anywhere."
        verb = "is" if self.images == 1 else "are"
        return f"{images} {verb} sent to {self.recipient} and scanned by {self.model}."

    @property
    def price_text(self) -> str:
        """The price and the budget, in two sentences; empty if the scan is free."""
        if not self.images or not self.recipient:
            return ""
        return (
            f"Estimated cost: {format_usd(self.usd)}, at most {format_usd(self.most_usd)}. "
            f"Spent this month: {format_usd(self.spent_usd)} of {format_usd(self.budget_usd)}."
        )


def fetch_quote(current: Settings, video_ids: Sequence[int], *options: str) -> Quote | str:
    """The quote for these videos with options of `quick`, or an error message. Sends no images."""
    words = [*map(str, video_ids), "--estimate", *options]
    return parse_quote(run_command(current, "quick", *words, seconds=QUOTE_TIMEOUT_SECONDS))


def parse_quote(outcome: CommandResult) -> Quote | str:
    """The quote in the output of `quick --estimate`, or an error message."""
    printed = outcome.data if isinstance(outcome.data, list) else [outcome.data]
    estimate: dict[str, Any] | None = next(
        (line for line in reversed(printed) if isinstance(line, dict) and "usd" in line), None
    )
    if estimate is None or "recipient" not in estimate:
        return outcome.error or "The cost could not be estimated."
    videos: list[dict[str, Any]] = estimate["videos"]
    return Quote(
        images=int(estimate["pictures"]),
        scanned=sum(int(video["answered"]) + int(video["unanswered"]) for video in videos),
        in_batches=sum(int(video["on_the_way"]) for video in videos),
        uncertain=sum(int(video.get("uncertain", 0)) for video in videos),
        uncertain_usd=sum(float(video.get("uncertain_usd", 0.0)) for video in videos),
        in_progress=sum(int(video.get("sending", 0)) for video in videos),
        describer=str(estimate["describer"]),
        model=str(estimate["model"]),
        recipient=str(estimate["recipient"]),
        usd=float(estimate["usd"]),
        most_usd=float(estimate["most_usd"]),
        spent_usd=float(estimate["spent_usd"]),
        budget_usd=float(estimate["budget_usd"]),
        problem=estimate["problem"] or (None if outcome.is_good else outcome.error),
    )


def request_dialog(videos: Sequence[tuple[int, str]]) -> None:
    """Open the dialog for these videos, by id and title, at the next run of the page. For callbacks."""
    st.session_state[_REQUESTED] = list(videos)
    st.session_state[_CLOSED] = False
    st.session_state[_QUOTES] = {}


def draw_dialog(current: Settings) -> None:
    """Draw the dialog if it was requested."""
    if videos := st.session_state.pop(_REQUESTED, None):
        _draw_dialog(current, videos)


@st.dialog("Quick scan")
def _draw_dialog(current: Settings, videos: list[tuple[int, str]]) -> None:
    """The quote, and the buttons to accept or decline it."""
    if st.session_state.get(_CLOSED):
        st.rerun()
    st.text(printable(_title_list([title for _, title in videos])))
    is_claude = current.quick_describer == "claude"
    batch = is_claude and st.checkbox(
        "Send as a batch at half the price",
        key=_BATCH,
        help="Results usually arrive within an hour, and within 24 hours at the latest.",
    )
    options = ["--batch"] if batch else []
    video_ids = [video_id for video_id, _ in videos]
    quote = _cached_quote(current, video_ids, *options)
    if isinstance(quote, Quote) and quote.uncertain:
        images = format_count(quote.uncertain, "image")
        st.warning(markdown_text(f"{images} may have been paid for without an answer arriving."))
        if st.checkbox(
            markdown_text(f"Send {images} again, for up to {format_usd(quote.uncertain_usd)}"), key=_UNANSWERED
        ):
            options.append("--unanswered")
            quote = _cached_quote(current, video_ids, *options)
    if isinstance(quote, str):
        st.error(markdown_text(quote))
        st.button("Close", on_click=_close)
        return
    st.markdown(markdown_text(quote.scope_text))
    if quote.price_text:
        st.markdown(f"**{markdown_text(quote.price_text)}**")
    if quote.scanned and quote.images:
        st.caption(f"{format_count(quote.scanned, 'key frame')} already scanned; not sent or charged again.")
    if quote.problem:
        st.error(markdown_text(quote.problem))
    if error := st.session_state.pop(_START_ERROR, None):
        st.error(markdown_text(error))
    with st.container(horizontal=True):
        if quote.can_start:
            label = f"Send {format_count(quote.images, 'image')}" if quote.recipient else "Start scan"
            st.button(label, type="primary", on_click=_start, args=(video_ids, quote, *options))
        st.button("Cancel" if quote.can_start else "Close", on_click=_close)


def _cached_quote(current: Settings, video_ids: list[int], *options: str) -> Quote | str:
    """The quote with these options, each fetched once per dialog."""
    quotes: dict[tuple[str, ...], Quote | str] = st.session_state.setdefault(_QUOTES, {})
    if options not in quotes:
        with st.spinner("Selecting key frames"):
            quotes[options] = fetch_quote(current, video_ids, *options)
    return quotes[options]


def _title_list(titles: list[str]) -> str:
    more = len(titles) - MOST_TITLES
    listed = [" ".join(title.split()) for title in titles[:MOST_TITLES]]
    return "\n".join([*listed, *([f"and {format_count(more, 'more video')}"] if more > 0 else [])])


def _start(video_ids: list[int], quote: Quote, *options: str) -> None:
    words = [*map(str, video_ids), "--describer", quote.describer, "--model", quote.model, "--yes"]
    if quote.recipient:
        words += ["--most-usd", f"{quote.most_usd + PRICE_TOLERANCE_USD:.6f}"]  # never more than what was agreed to
    words += options
    try:
        jobs.start_job(settings(), KIND, "quick", *words)
    except EveryFrameError as error:
        st.session_state[_START_ERROR] = str(error)
        return
    _close()


def _close() -> None:
    st.session_state[_CLOSED] = True


def draw_panel(current: Settings, videos: Sequence[VideoCost]) -> None:
    """Draw the form that requests a quote, and the last quick scan."""
    titles = {video.video_id: video.title for video in videos}
    unscanned = [video.video_id for video in videos if not video.quick.frames]
    with st.container(border=True):
        st.markdown("**Quick scan**: describes the key frames of a video within minutes.")
        with st.form("quick", border=False):
            st.multiselect(
                "Videos",
                list(titles),
                default=unscanned[:1],
                key=_VIDEOS,
                format_func=lambda video_id: printable(one_line(titles.get(video_id, ""), TITLE_CHARACTERS)),
                placeholder="Choose videos",
            )
            st.form_submit_button("Estimate cost", on_click=_request_from_form, args=(titles,))
        st.caption("Nothing is sent until you have seen the price and agreed.")
        draw_last_scan(current)


def draw_last_scan(current: Settings, video_id: int | None = None) -> None:
    """Draw the state of the last quick scan, of any video or of one."""
    job = last_job(current, video_id)
    if job is None or not (job.is_running or datetime.now(UTC) - job.started_at < SHOW_RESULT_FOR):
        return
    with st.container():
        if job.is_running:
            st.button(
                "Stop quick scan",
                on_click=jobs.stop_job_in_background,
                args=(current, job.id),
                key=f"stop-{job.id}",
            )
        live(run_every=REFRESH if job.is_running else None)(_draw_live_state)(job.id, was_running=job.is_running)


def last_job(current: Settings, video_id: int | None = None) -> Job | None:
    """The latest quick scan, None if there was none."""
    return next((job for job in jobs.jobs(current, KIND) if video_id is None or str(video_id) in _video_ids(job)), None)


def _video_ids(job: Job) -> list[str]:
    return [word for word in job.words[1:] if word.isdecimal()]


def _draw_live_state(job_id: str, *, was_running: bool) -> None:
    job = next((job for job in jobs.jobs(settings(), KIND) if job.id == job_id), None)
    if job is None or (was_running and not job.is_running):
        st.rerun()
    started = f"{job.started_at.astimezone():%H:%M}"
    result: dict[str, Any] = next((line for line in reversed(job.lines) if line.get("step") == "done"), {})
    cost = f" Cost: {format_usd(float(result['usd']))}." if result.get("usd") else ""
    if job.is_running:
        st.progress(*_progress(job))
        if job.stop_error:
            st.error(markdown_text(f"Stop failed: {job.stop_error}"))
    elif job.exit_code == 0:
        st.success(markdown_text(f"Quick scan from {started} finished.{cost}"))
    else:
        scanned = f"{format_count(int(result.get('answered') or 0), 'image')} scanned."
        st.error(markdown_text(f"Quick scan from {started} did not finish. {scanned}{cost}"))
        st.text(printable(job.error or "It was stopped."))


def _progress(job: Job) -> tuple[float, str]:
    """The progress, 0 to 1, and the current step."""
    line = job.lines[-1] if job.lines else {}
    counts = next((line for line in reversed(job.lines) if line.get("step") == "asking"), None)
    share = 0.0 if counts is None else min(1.0, int(counts["done"]) / max(1, int(counts["pictures"])))
    if line.get("step") == "sent":
        return share, "Batch sent. Results usually arrive within an hour, and within 24 hours at the latest."
    if line.get("text"):
        return share, markdown_text(one_line(str(line["text"]), STEP_CHARACTERS))
    return share, "Selecting key frames"


def _request_from_form(titles: dict[int, str]) -> None:
    if chosen := st.session_state[_VIDEOS]:
        request_dialog([(video_id, titles[video_id]) for video_id in chosen])
