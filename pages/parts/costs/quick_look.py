"""The quick look: choosing films for it, and how the last one goes, in every tab.

What a quick look will take, as the command line says it before anything is sent.

The question before a quick look: what is sent, to whom, for how much. Nothing is sent before the answer.
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
from enrich.wording import counted, dollars, first_line
from pages.parts.plain import plain, shown
from pages.parts.session import settings

QUOTE_SECONDS = 300.0  # a film that nobody has looked into yet is skimmed first
KIND = "quick"
MOST_TITLES = 8
CENT_OF_A_CENT = 0.0001  # dollars, as they are shown: two counts may differ by a few tokens
_ASKED, _ANSWERED, _QUOTES, _CONSENT_FAILED = "quick-asked", "quick-answered", "quick-quotes", "quick-failed"
_BATCH = "quick-batch"
EVERY = "2s"
NEWS = timedelta(hours=12)  # how a look went is told for so long
LONGEST_TITLE, LONGEST_STEP = 60, 160
_FILMS, _FAILED = "quick-films", "quick-stop-failed"


@dataclass(frozen=True, slots=True)
class Quote:
    """An offer. `recipient` is empty where no picture leaves the machine; `problem` says why it cannot be taken."""

    pictures: int
    known: int  # key frames that were asked about already, and are not again
    on_the_way: int  # in batches
    describer: str
    model: str
    recipient: str
    usd: float  # expected
    most_usd: float  # if every answer is as long as it may be
    spent_usd: float
    budget_usd: float
    problem: str | None

    @property
    def can_be_taken(self) -> bool:
        """Whether there is anything to look at, and nothing that forbids it."""
        return self.pictures > 0 and self.problem is None

    @property
    def what(self) -> str:
        """What is sent to whom, in a sentence."""
        if not self.pictures and self.on_the_way:
            return f"{counted(self.on_the_way, 'key frame')} on the way in a batch: nothing is asked twice."
        if not self.pictures:
            return f"All {counted(self.known, 'key frame')} were looked at already: nothing is asked again."
        pictures = counted(self.pictures, "picture")
        if not self.recipient:
            return f"{pictures}, looked at by {self.model} on this machine. Nothing leaves it, and it costs nothing."
        verb = "is" if self.pictures == 1 else "are"
        return f"{pictures} {verb} sent to {self.recipient}, to be looked at by {self.model}."

    @property
    def price(self) -> str:
        """What it costs, in a sentence; empty where it costs nothing."""
        if not self.pictures or not self.recipient:
            return ""
        return (
            f"It costs about {dollars(self.usd)}, and {dollars(self.most_usd)} at the most. This month "
            f"{dollars(self.spent_usd)} of {dollars(self.budget_usd)} is spent."
        )


def quote(found: Settings, video_ids: Sequence[int], *, batch: bool) -> Quote | str:
    """The offer for films, or why there is none. Nothing is sent for it."""
    words = [*map(str, video_ids), "--estimate", *(["--batch"] if batch else [])]
    return read(run_command(found, "quick", *words, seconds=QUOTE_SECONDS))


def read(outcome: CommandResult) -> Quote | str:
    """The offer in what the command answered."""
    printed = outcome.data if isinstance(outcome.data, list) else [outcome.data]
    said: dict[str, Any] | None = next(
        (one for one in reversed(printed) if isinstance(one, dict) and "usd" in one), None
    )
    if said is None or "recipient" not in said:
        return outcome.error or "what it costs could not be found out"
    films: list[dict[str, Any]] = said["videos"]
    return Quote(
        pictures=int(said["pictures"]),
        known=sum(int(film["answered"]) + int(film["unanswered"]) for film in films),
        on_the_way=sum(int(film["on_the_way"]) for film in films),
        describer=str(said["describer"]),
        model=str(said["model"]),
        recipient=str(said["recipient"]),
        usd=float(said["usd"]),
        most_usd=float(said["most_usd"]),
        spent_usd=float(said["spent_usd"]),
        budget_usd=float(said["budget_usd"]),
        problem=said["problem"] or (None if outcome.is_good else outcome.error),
    )


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
    if problem := st.session_state.pop(_CONSENT_FAILED, None):
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
        st.session_state[_CONSENT_FAILED] = str(error)
        return
    _answer()


def _answer() -> None:
    st.session_state[_ANSWERED] = True


def draw_progress(found: Settings, films: Sequence[VideoCost]) -> None:
    """Choose films, ask for a quick look, and see how it goes."""
    titles = {film.video_id: film.title for film in films}
    without = [film.video_id for film in films if not film.quick.frames]
    with st.container(border=True):
        st.markdown("**A quick look** at the key frames of a film: first results in minutes, before the deep pass.")
        with st.form("quick", border=False):
            st.multiselect(
                "Films",
                list(titles),
                default=without[:1],
                key=_FILMS,
                format_func=lambda video_id: shown(first_line(titles.get(video_id, ""), LONGEST_TITLE)),
                placeholder="Choose films",
            )
            st.form_submit_button("See what it costs", on_click=_ask, args=(titles,))
        st.caption("Nothing is sent before you have seen the sum and agreed.")
        draw_last(found)


def draw_last(found: Settings, video_id: int | None = None) -> None:
    """How the last quick look goes or went: of any film, or of one."""
    job = last_job(found, video_id)
    if job is None or not (job.is_running or datetime.now(UTC) - job.started_at < NEWS):
        return
    with st.container():
        if failed := st.session_state.pop(_FAILED, None):
            st.error(plain(failed))
        if job.is_running:
            st.button("Stop the quick look", on_click=_stop, args=(job.id,), key=f"stop-{job.id}")
        st.fragment(_live, run_every=EVERY if job.is_running else None)(job.id, was_running=job.is_running)


def last_job(found: Settings, video_id: int | None = None) -> Job | None:
    """The newest quick look, None if there was none."""
    mine = [job for job in jobs.jobs(found, KIND) if video_id is None or str(video_id) in _ids(job)]
    return mine[0] if mine else None


def _ids(job: Job) -> list[str]:
    return [word for word in job.words[1:] if word.isdecimal()]


def _live(job_id: str, *, was_running: bool) -> None:
    job = next((job for job in jobs.jobs(settings(), KIND) if job.id == job_id), None)
    if job is None or (was_running and not job.is_running):
        st.rerun()
    when = f"{job.started_at.astimezone():%H:%M}"
    end: dict[str, Any] = next((line for line in reversed(job.lines) if line.get("step") == "done"), {})
    paid = f" for {dollars(float(end['usd']))}" if end.get("usd") else ""
    if job.is_running:
        st.progress(*_progress(job))
    elif job.exit_code == 0:
        st.success(plain(f"The quick look of {when} is done{paid}."))
    else:
        came = f"{counted(int(end['answered']), 'picture')} answered{paid}" if end.get("answered") else "No answer came"
        st.error(plain(f"The quick look of {when} did not come to its end. {came}."))
        st.text(shown(job.error or "It was stopped."))


def _progress(job: Job) -> tuple[float, str]:
    """How much is done, and what is being done, in words."""
    line = job.lines[-1] if job.lines else {}
    counts = next((line for line in reversed(job.lines) if line.get("step") == "asking"), None)
    share = 0.0 if counts is None else min(1.0, int(counts["done"]) / max(1, int(counts["pictures"])))
    if line.get("step") == "sent":
        return share, "Sent as a batch. The answers come within a day, mostly within an hour."
    if line.get("text"):
        return share, plain(first_line(str(line["text"]), LONGEST_STEP))
    return share, "Choosing the key frames"


def _ask(titles: dict[int, str]) -> None:
    if chosen := st.session_state[_FILMS]:
        ask([(video_id, titles[video_id]) for video_id in chosen])


def _stop(job_id: str) -> None:
    try:
        jobs.stop_job(settings(), job_id)
    except EveryFrameError as error:
        st.session_state[_FAILED] = str(error)
