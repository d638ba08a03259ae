"""The command for the quick pass: a few key frames of a film looked at within minutes, or in a batch."""

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from enrich.cli.options import AsJson, Videos, find_videos, open_library, settings_for
from enrich.cli.output import print_error, print_json, say
from enrich.cli.quick_batches import Reporter, collect_batches, report_problems
from enrich.cli.signals import INTERRUPTED, interruptible
from enrich.errors import BudgetError, SettingsError
from enrich.wording import counted, dollars, first_line, span

if TYPE_CHECKING:
    from enrich.describe.claude.describer import ClaudeQuick
    from enrich.describe.quick.protocol import QuickDescriber
    from enrich.library.library import Library
    from enrich.quick.plan import Offer, QuickPlan
    from enrich.quick.run import QuickRunResult

SAY_SECONDS = 2.0  # between two lines about the same

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
    video_ids = sorted(find_videos(library, videos) or ())
    teller = Reporter(as_json=as_json, tells_steps=not (as_json and estimate))  # an estimate is one value
    if collect:
        _conclude(asyncio.run(collect_batches(library, teller, video_ids or None)))
        return
    course = _QuickCommand(
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


class _QuickCommand:
    """One quick pass, from the pictures to the bill."""

    def __init__(
        self,
        library: "Library",
        teller: Reporter,
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
        self._describer = (describer, model)
        self._stop = threading.Event()
        self._stopping = asyncio.Event()

    async def run(
        self, video_ids: Sequence[int], *, only_estimate: bool, yes: bool, most_usd: float | None = None
    ) -> int:
        """All of it; the exit code."""
        from enrich.describe.registry import make_quick_describer
        from enrich.quick.plan import make_offer

        name, model = self._describer
        describer = make_quick_describer(
            self._library.settings, name, model, on_wait=self._teller.told, stop=self._stopping
        )
        try:
            with interruptible(self._interrupt):
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
            if offer.images and not self._agreed(offer, plans, yes=yes):
                return 1
            with interruptible(self._interrupt):
                return await self._carry_out(describer, offer, plans)
        finally:
            await describer.close()

    async def _plan(self, describer: "QuickDescriber", video_id: int) -> "QuickPlan":
        from enrich.quick.frames import ensure_frames
        from enrich.quick.plan import make_plan

        video = await asyncio.to_thread(
            ensure_frames,
            self._library,
            video_id,
            wanted=self._frames,
            stop=self._stop,
            on_step=lambda text: self._teller.step("looking", f"{text[:1].upper()}{text[1:]} …", video_id=video_id),
        )
        plan = await asyncio.to_thread(
            make_plan,
            self._library,
            describer,
            video,
            key_frames=self._frames,
            again=self._again,
            retry_unanswered=self._unanswered,
            batch=self._batch,
        )
        self._teller.step("planned", **_planned(plan))
        return plan

    def _agreed(self, offer: "Offer", plans: "Sequence[QuickPlan]", *, yes: bool) -> bool:
        """Whether it may be done. Raises SettingsError where nobody can be asked, or nothing can be done."""
        if offer.problem is not None:
            raise SettingsError(offer.problem)
        text = f"{offer.text[:1].upper()}{offer.text[1:]}"
        facts = {name: value for name, value in offer.as_data().items() if name not in ("text", "problem")}
        self._teller.step("offer", f"{text}.", **facts)
        self._say_notes(plans)
        if not offer.recipient or yes:
            return True
        if self._teller.as_json or not sys.stdin.isatty():
            raise SettingsError(f"{offer.text}: say --yes to do it")
        if typer.confirm("Send them?"):
            return True
        say("Nothing was sent.")
        return False

    def _say_notes(self, plans: "Sequence[QuickPlan]") -> None:
        for line in _notes(plans):
            self._teller.step("note", line)

    def _say_offer(self, offer: "Offer", plans: "Sequence[QuickPlan]") -> None:
        if self._teller.as_json:
            print_json({**offer.as_data(), "videos": [_planned(plan) for plan in plans]})
            return
        most = f"; at most {dollars(offer.most_usd)}" if offer.usd else ""
        say(f"{offer.text[:1].upper()}{offer.text[1:]}{most}.")
        if offer.recipient:
            say(f"This month: {dollars(offer.spent_usd)} of {dollars(offer.budget_usd)} is spent.")
        self._say_notes(plans)
        if offer.problem:
            print_error(offer.problem)

    async def _carry_out(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.describe.claude.describer import ClaudeQuick

        if not offer.images and not (self._batch and any(plan.pending for plan in plans)):
            self._say_notes(plans)
            self._teller.step("done", "Nothing is left to ask.", answered=0, usd=0.0, problems=[])
            return 0
        if self._batch and isinstance(describer, ClaudeQuick):
            return await self._send(describer, plans)
        return await self._take(describer, offer, plans)

    async def _take(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.quick.run import QuickRunResult, run_quick_pass

        taken = QuickRunResult()
        said_at = time.monotonic()

        def on_answers() -> None:
            nonlocal said_at
            if time.monotonic() - said_at < SAY_SECONDS and not self._teller.as_json:
                return
            said_at = time.monotonic()
            done = taken.answered + len(taken.problems)
            price = f", {dollars(taken.usd)}" if describer.recipient else ""
            text = f"{done:,} of {counted(offer.images, 'picture')}{price}"
            self._teller.step("asking", text, done=done, pictures=offer.images, usd=taken.usd)

        for plan in plans:
            if taken.error is None and not self._stopping.is_set():
                await run_quick_pass(
                    self._library, describer, plan, totals=taken, stop=self._stopping, on_answers=on_answers
                )
        return self._say_taken(describer, taken, offer.images)

    def _say_taken(self, describer: "QuickDescriber", taken: "QuickRunResult", pictures: int) -> int:
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
            problems=[{"label": label, "reason": reason} for label, reason in taken.problems.items()],
            error=str(taken.error) if taken.error else None,
        )
        report_problems(taken.problems)
        if taken.error is not None:
            print_error(f"{taken.error}; what was answered is saved" if taken.answered else str(taken.error))
        if self._stopping.is_set():
            return INTERRUPTED
        return 1 if taken.error is not None or taken.problems else 0

    async def _send(self, describer: "ClaudeQuick", plans: "Sequence[QuickPlan]") -> int:
        from enrich.quick.batches import send_batch

        for plan in plans:
            if plan.to_ask and not self._stopping.is_set():
                task_id = await send_batch(self._library, describer, plan)
                text = f"{counted(len(plan.to_ask), 'picture')} of {first_line(plan.title)} sent as a batch."
                self._teller.step("sent", text, video_id=plan.video.id, task_id=task_id, pictures=len(plan.to_ask))
        video_ids = [plan.video.id for plan in plans]
        return await collect_batches(self._library, self._teller, video_ids, stopping=self._stopping)

    def _interrupt(self) -> None:
        self._stop.set()
        self._stopping.set()


def _planned(plan: "QuickPlan") -> dict[str, Any]:
    return {
        "video_id": plan.video.id,
        "title": plan.title,
        "key_frames": len(plan.frames),
        "pictures": len(plan.to_ask),
        "answered": plan.answered,
        "unanswered": plan.unanswered,
        "on_the_way": plan.pending,
        "usd": plan.estimate.usd if plan.to_ask else 0.0,
    }


def _notes(plans: "Sequence[QuickPlan]") -> list[str]:
    """What else there is to say before the question."""
    lines = []
    if answered := sum(plan.answered for plan in plans):
        lines.append(f"{counted(answered, 'picture')} answered before; --again asks anew.")
    if unanswered := sum(plan.unanswered for plan in plans):
        lines.append(f"{counted(unanswered, 'picture')} paid for before without an answer; --unanswered asks anew.")
    if waiting := sum(plan.pending for plan in plans):
        lines.append(f"{counted(waiting, 'picture')} on the way in a batch.")
    return lines
