"""The command for the quick pass: a few key frames of a film looked at within minutes, or in a batch."""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from enrich.cli.options import AsJson, Videos, all_meant, open_library, settings_for
from enrich.cli.output import complain, print_json, print_line, say
from enrich.errors import BudgetError, SettingsError
from enrich.wording import counted, dollars, first_line, span

if TYPE_CHECKING:
    from enrich.describe.claude import ClaudeQuick
    from enrich.describe.quick import QuickDescriber
    from enrich.quick.offer import Offer
    from enrich.quick.plan import QuickPlan
    from enrich.quick.taking import Taken
    from enrich.work.library import Library

SHOWN_PROBLEMS = 5
WAIT_SECONDS = 1.0  # between two looks at batches
INTERRUPTED = 130

QuickName = Annotated[
    Literal["claude", "ollama", "baseline"] | None,
    typer.Option("--describer", help="What looks at the pictures.", show_default=False),
]


def quick(
    videos: Videos = None,
    describer: QuickName = None,
    model: Annotated[str | None, typer.Option("--model", help="Its model.", show_default=False)] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", min=1, max=500, help="How many key frames of each film.")
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="For half the price, within a day (Claude only).")] = False,
    collect: Annotated[bool, typer.Option("--collect", help="Only fetch the answers of batches.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Choose and ask afresh, what was paid for too.")] = False,
    unanswered: Annotated[
        bool, typer.Option("--unanswered", help="Also what was asked and paid for, and got no answer.")
    ] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Say what it would cost, and send nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    most_usd: Annotated[
        float | None, typer.Option("--most-usd", min=0, help="Send nothing if it could cost more.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look at a few key frames of a film at once.

    Says how many pictures go to whom, and for how much, before anything is sent. A worker may run beside it, and the
    film need not be decoded.
    """
    if not collect and not videos:
        raise typer.BadParameter("name the films: everyframe list shows them", param_hint="VIDEO")
    settings = settings_for()
    chosen = describer or settings.quick_describer
    if batch and chosen != "claude":
        raise typer.BadParameter("only Claude takes batches", param_hint="--batch")
    library = open_library(settings)
    video_ids = sorted(all_meant(library, videos) or ())
    teller = _Teller(as_json=as_json)
    if collect:
        _conclude(asyncio.run(_collect(library, teller, video_ids or None)))
        return
    course = _Course(
        library,
        teller,
        frames=frames or settings.key_frames,
        again=again,
        unanswered=unanswered,
        batch=batch,
        describer=chosen,
        model=model,
    )
    _conclude(asyncio.run(course.run(video_ids, only_estimate=estimate, yes=yes, most_usd=most_usd)))


def _conclude(code: int) -> None:
    if code:
        raise typer.Exit(code)


class _Teller:
    """Says how it goes: sentences for people, a line of JSON each for programs."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._last = ""

    def step(self, step: str, text: str = "", **facts: Any) -> None:
        """Tell one step; for people only what is new, and only if there is a text."""
        if self.as_json:
            print_line({"step": step, **({"text": text} if text else {}), **facts})
        elif text and text != self._last:
            say(text)
        self._last = text

    def told(self, text: str) -> None:
        """Tell a wait."""
        self.step("waiting", f"{text[:1].upper()}{text[1:]}.")


class _Course:
    """One quick pass, from the pictures to the bill."""

    def __init__(
        self,
        library: "Library",
        teller: _Teller,
        *,
        frames: int,
        again: bool,
        unanswered: bool,
        batch: bool,
        describer: str,
        model: str | None,
    ) -> None:
        self._library = library
        self._teller = teller
        self._frames = frames
        self._again = again
        self._unanswered = unanswered
        self._batch = batch
        self._began = time.monotonic()
        self._first_request: float | None = None
        self._describer = (describer, model)
        self._stop = threading.Event()
        self._stopping = asyncio.Event()

    async def run(
        self, video_ids: Sequence[int], *, only_estimate: bool, yes: bool, most_usd: float | None = None
    ) -> int:
        """All of it; the exit code."""
        from enrich.describe.registry import make_quick_describer
        from enrich.quick.offer import make_offer

        name, model = self._describer
        describer = make_quick_describer(self._library.settings, name, model, told=self._teller.told)
        try:
            with _interruptible(self._interrupt):
                plans = [await self._plan(describer, video_id) for video_id in video_ids]
                if self._stop.is_set():
                    return INTERRUPTED
                offer, plans = await make_offer(self._library, describer, plans, batch=self._batch)
            if only_estimate:
                self._say_offer(offer, plans)
                return 0
            if most_usd is not None and offer.most_usd > most_usd:
                raise BudgetError(
                    f"it could cost {dollars(offer.most_usd)} by now, more than the {dollars(most_usd)} agreed to: "
                    "nothing was sent, ask again"
                )
            if offer.pictures and not self._agreed(offer, plans, yes=yes):
                return 1
            with _interruptible(self._interrupt):
                return await self._carry_out(describer, offer, plans)
        finally:
            await describer.close()

    async def _plan(self, describer: "QuickDescriber", video_id: int) -> "QuickPlan":
        from enrich.quick.looking import have_pictures
        from enrich.quick.plan import make_plan

        video = await asyncio.to_thread(
            have_pictures,
            self._library,
            video_id,
            wanted=self._frames,
            stop=self._stop,
            told=lambda text: self._teller.step("looking", f"{text[:1].upper()}{text[1:]} …", video_id=video_id),
        )
        plan = await asyncio.to_thread(
            make_plan,
            self._library,
            describer,
            video,
            key_frames=self._frames,
            again=self._again,
            unanswered_too=self._unanswered,
            batch=self._batch,
        )
        self._teller.step("planned", **_planned(plan))
        return plan

    def _agreed(self, offer: "Offer", plans: "Sequence[QuickPlan]", *, yes: bool) -> bool:
        """Whether it may be done. Raises SettingsError where nobody can be asked, or nothing can be done."""
        if offer.problem is not None:
            raise SettingsError(offer.problem)
        text = f"{offer.text[:1].upper()}{offer.text[1:]}"
        self._teller.step("offer", f"{text}.", **_offered(offer))
        for line in _notes(plans):
            self._teller.step("note", line)
        if not offer.recipient or yes:
            return True
        if self._teller.as_json or not sys.stdin.isatty():
            raise SettingsError(f"{offer.text}: say --yes to do it")
        if typer.confirm("Send them?"):
            return True
        say("Nothing was sent.")
        return False

    def _say_offer(self, offer: "Offer", plans: "Sequence[QuickPlan]") -> None:
        if self._teller.as_json:
            print_json({**asdict(offer), "videos": [_planned(plan) for plan in plans]})
            return
        say(f"{offer.text[:1].upper()}{offer.text[1:]}; at most {dollars(offer.most_usd)}.")
        say(f"This month: {dollars(offer.spent_usd)} of {dollars(offer.budget_usd)} is spent.")
        for line in _notes(plans):
            say(line)
        if offer.problem:
            complain(offer.problem)

    async def _carry_out(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.describe.claude import ClaudeQuick

        if not offer.pictures and not any(plan.on_the_way for plan in plans):
            self._teller.step("done", "Nothing is left to ask.", answered=0, usd=0.0, problems=[])
            return 0
        if self._batch and isinstance(describer, ClaudeQuick):
            return await self._send(describer, plans)
        return await self._take(describer, offer, plans)

    async def _take(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.quick.taking import Taken, take

        taken = Taken()

        def on_answers() -> None:
            done = taken.answered + len(taken.problems)
            text = f"{done:,} of {counted(offer.pictures, 'picture')}, {dollars(taken.usd)}"
            self._teller.step("asking", text, done=done, pictures=offer.pictures, usd=taken.usd)

        self._first_request = time.monotonic() - self._began
        for plan in plans:
            if taken.error is None and not self._stopping.is_set():
                await take(self._library, describer, plan, taken=taken, stop=self._stopping, on_answers=on_answers)
        return self._say_taken(describer, taken, offer.pictures)

    def _say_taken(self, describer: "QuickDescriber", taken: "Taken", pictures: int) -> int:
        seconds = time.monotonic() - self._began
        sums = f", {dollars(taken.usd)}" if describer.recipient else ""
        self._teller.step(
            "done",
            f"{taken.answered:,} of {counted(pictures, 'picture')} answered in {span(seconds)}{sums}.",
            answered=taken.answered,
            pictures=pictures,
            usd=taken.usd,
            prompt_tokens=taken.prompt_tokens,
            output_tokens=taken.output_tokens,
            seconds=round(seconds, 1),
            first_request_seconds=self._first_request and round(self._first_request, 1),
            problems=[{"label": label, "reason": reason} for label, reason in taken.problems.items()],
            error=str(taken.error) if taken.error else None,
        )
        _complain_of(taken.problems)
        if taken.error is not None:
            complain(f"{taken.error}; what was answered is saved")
        if self._stopping.is_set():
            return INTERRUPTED
        return 1 if taken.error is not None or taken.problems else 0

    async def _send(self, describer: "ClaudeQuick", plans: "Sequence[QuickPlan]") -> int:
        from enrich.quick.sending import send

        self._first_request = time.monotonic() - self._began
        for plan in plans:
            if plan.wanted and not self._stopping.is_set():
                task_id = await send(self._library, describer, plan)
                text = f"{counted(len(plan.wanted), 'picture')} of {first_line(plan.title)} sent as a batch."
                self._teller.step("sent", text, video_id=plan.video.id, task_id=task_id, pictures=len(plan.wanted))
        return await _collect(self._library, self._teller, [plan.video.id for plan in plans], stopping=self._stopping)

    def _interrupt(self) -> None:
        self._stop.set()
        self._stopping.set()


async def _collect(
    library: "Library",
    teller: _Teller,
    video_ids: Sequence[int] | None,
    *,
    stopping: asyncio.Event | None = None,
) -> int:
    """Look after batches until none is open, or somebody interrupts; the exit code."""
    from db import batches
    from db.engine import reading
    from enrich.quick.collecting import collect_one

    stopping = stopping or asyncio.Event()

    def opened() -> "list[batches.BatchRow]":
        with reading(library.engine) as connection:
            return batches.open_batches(connection, video_ids)

    followed = {row.task_id for row in opened()}
    frames = {frame_id for row in opened() for frame_id in row.batch.frame_ids}
    began = datetime.now(UTC)
    with _interruptible(stopping.set):
        while (rows := opened()) and not stopping.is_set():
            collected = await collect_one(library, video_ids=video_ids, told=teller.told)
            if collected is None:
                await _sleep(stopping, WAIT_SECONDS)
                continue
            if collected.says is not None:
                teller.told(collected.says)
        followed |= {row.task_id for row in rows}
    return _say_collected(library, teller, sorted(followed), frames, began, is_over=not rows)


def _say_collected(
    library: "Library", teller: _Teller, task_ids: Sequence[int], frames: set[int], began: datetime, *, is_over: bool
) -> int:
    from db import batches, quick
    from db.engine import reading

    with reading(library.engine) as connection:
        found = [row for task_id in task_ids if (row := batches.batch(connection, task_id)) is not None]
        usd = quick.spent_on(connection, frames, since=began)
    lost = len(task_ids) - len(found)
    problems = {label: reason for row in found for label, reason in row.batch.problems.items()}
    saved = sum(len(labels) for row in found for name, labels in row.batch.parts.items() if name in row.batch.saved)
    answered = saved - sum(1 for label in problems if _is_saved(label, found))
    facts: dict[str, Any] = {"answered": answered, "usd": usd, "is_over": is_over, "never_sent": lost}
    facts["problems"] = [{"label": label, "reason": reason} for label, reason in problems.items()]
    if not is_over:
        text = "Claude is not done. Go on later: everyframe quick --collect; a worker in the background does it too."
    elif not task_ids:
        text = "No batch is under way."
    else:
        text = f"{counted(answered, 'picture')} answered, {dollars(usd)}."
    teller.step("done", text, **facts)
    _complain_of(problems)
    if lost:
        complain(f"{counted(lost, 'batch')[:-1] if lost == 1 else f'{lost} batches'} had never been sent: ask again")
    return 1 if problems or lost else 0


def _is_saved(label: str, rows: "Sequence[Any]") -> bool:
    return any(label in labels for row in rows for name, labels in row.batch.parts.items() if name in row.batch.saved)


async def _sleep(stopping: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


class _interruptible:  # noqa: N801  # used like a function
    """SIGINT and SIGTERM ask for an end while it is entered; a second one ends the process at once."""

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()

        def handle(number: int, _frame: object) -> None:
            signal.signal(number, signal.SIG_DFL)
            loop.call_soon_threadsafe(self._interrupt)

        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, handle)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _planned(plan: "QuickPlan") -> dict[str, Any]:
    return {
        "video_id": plan.video.id,
        "title": plan.title,
        "key_frames": len(plan.frames),
        "pictures": len(plan.wanted),
        "answered": plan.answered,
        "unanswered": plan.unanswered,
        "on_the_way": plan.on_the_way,
        "usd": plan.estimate.usd if plan.wanted else 0.0,
    }


def _offered(offer: "Offer") -> dict[str, Any]:
    return {name: value for name, value in asdict(offer).items() if name not in ("text", "problem")}


def _notes(plans: "Sequence[QuickPlan]") -> list[str]:
    """What else there is to say before the question."""
    lines = []
    if answered := sum(plan.answered for plan in plans):
        lines.append(f"{counted(answered, 'picture')} answered before; --again asks anew.")
    if unanswered := sum(plan.unanswered for plan in plans):
        lines.append(f"{counted(unanswered, 'picture')} paid for before without an answer; --unanswered asks anew.")
    if waiting := sum(plan.on_the_way for plan in plans):
        lines.append(f"{counted(waiting, 'picture')} on the way in a batch.")
    return lines


def _complain_of(problems: dict[str, str]) -> None:
    """Why there are no answers, the commonest reasons first."""
    reasons: dict[str, int] = {}
    for reason in problems.values():
        reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda pair: -pair[1])[:SHOWN_PROBLEMS]:
        complain(f"{counted(count, 'picture')} without an answer: {first_line(reason, 300)}")
