"""The command `quick`: describe a few key frames per video within minutes, or in a cheaper batch."""

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enrich.cli.options import AsJson, find_videos, open_library, settings_for
from enrich.cli.output import INTERRUPTED, confirm, interruptible, print_error, print_json, say
from enrich.cli.quick_batches import Reporter, collect_batches, report_problems
from enrich.errors import BudgetError, SettingsError
from enrich.settings import QuickDescriberName
from enrich.wording import format_count, format_duration, format_usd, one_line

if TYPE_CHECKING:
    from enrich.describe.claude.describer import ClaudeQuick
    from enrich.describe.quick.protocol import QuickDescriber
    from enrich.library.library import Library
    from enrich.quick.plan import Offer, QuickPlan
    from enrich.quick.run import QuickRunResult

LINE_SECONDS = 2.0  # between two lines of progress

QuickName = Annotated[
    QuickDescriberName | None,
    typer.Option("--describer", help="What describes the key frames.", show_default=False),
]


def quick(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO", help="Video ids, paths, or unique parts of titles. Required unless --collect is given."
        ),
    ] = None,
    describer: QuickName = None,
    model: Annotated[str | None, typer.Option("--model", help="Model of the describer.", show_default=False)] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, max=500, help="Key frames per video.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Half the price, results within a day (Claude only).")] = False,
    collect: Annotated[bool, typer.Option("--collect", help="Only fetch the results of pending batches.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Select and describe key frames again, including paid ones.")
    ] = False,
    unanswered: Annotated[
        bool,
        typer.Option("--unanswered", help="Send key frames again that were, or may have been, paid without a reply."),
    ] = False,
    estimate: Annotated[bool, typer.Option("--estimate", help="Show the cost without sending anything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    most_usd: Annotated[
        float | None,
        typer.Option("--most-usd", min=0, help="Abort if it could cost more than this.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Describe a few key frames per video right away.

    Before anything is sent, it shows how many images would go to which service and what that costs, and asks you to
    confirm. Works while the worker is running, and before the video is extracted.

    Example: everyframe quick wedding --frames 20 --estimate
    """
    if not collect and not videos:
        raise typer.BadParameter("choose one or more videos. List them with: everyframe list", param_hint="VIDEO")
    settings = settings_for()
    chosen = describer or settings.quick_describer
    if batch and chosen != "claude":
        raise typer.BadParameter("batches are available with Claude only", param_hint="--batch")
    library = open_library(settings)
    video_ids = sorted(find_videos(library, videos) or ())
    reporter = Reporter(as_json=as_json, reports_steps=not (as_json and estimate))  # an estimate is one value
    if collect:
        _exit(asyncio.run(collect_batches(library, reporter, video_ids or None)))
        return
    command = _QuickCommand(
        library,
        reporter,
        frames=frames or settings.key_frames,
        again=again,
        unanswered=unanswered,
        batch=batch,
        describer=chosen,
        model=model,
    )
    _exit(asyncio.run(command.run(video_ids, only_estimate=estimate, yes=yes, most_usd=most_usd)))


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)


class _QuickCommand:
    """One quick pass, from selecting key frames to reporting the cost."""

    def __init__(
        self,
        library: "Library",
        reporter: Reporter,
        *,
        frames: int,
        again: bool,
        unanswered: bool,
        batch: bool,
        describer: str,
        model: str | None,
    ) -> None:
        self._library = library
        self._reporter = reporter
        self._frames = frames
        self._again = again
        self._unanswered = unanswered
        self._batch = batch
        self._started_at = time.monotonic()
        self._describer = (describer, model)
        self._stop = threading.Event()
        self._stopping = asyncio.Event()
        self._is_sending = False  # to a paid service

    async def run(
        self, video_ids: Sequence[int], *, only_estimate: bool, yes: bool, most_usd: float | None = None
    ) -> int:
        """Run the whole pass; the exit code."""
        from enrich.describe.registry import make_quick_describer
        from enrich.quick.plan import make_offer

        name, model = self._describer
        describer = make_quick_describer(
            self._library.settings, name, model, on_wait=self._reporter.waiting, stop=self._stopping
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
            if most_usd is not None and not offer.most_usd <= most_usd:
                raise BudgetError(
                    f"it could cost up to {format_usd(offer.most_usd)}, more than the limit of {format_usd(most_usd)}. "
                    "Nothing was sent. Raise --most-usd, or request a new estimate"
                )
            if offer.images and not self._confirm(offer, plans, yes=yes):
                return 1
            with interruptible(self._interrupt):
                return await self._execute(describer, offer, plans)
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
            on_step=lambda text: self._reporter.step("looking", f"{text[:1].upper()}{text[1:]} …", video_id=video_id),
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
        self._reporter.step("planned", **_planned(plan))
        return plan

    def _confirm(self, offer: "Offer", plans: "Sequence[QuickPlan]", *, yes: bool) -> bool:
        """Show the offer and ask for confirmation. Raises SettingsError if it is impossible, or nobody can be asked."""
        if offer.problem is not None:
            raise SettingsError(offer.problem)
        text = f"{offer.text[:1].upper()}{offer.text[1:]}"
        facts = {name: value for name, value in offer.as_data().items() if name not in ("text", "problem")}
        self._reporter.step("offer", f"{text}.", **facts)
        self._say_notes(plans)
        if not offer.recipient or yes:
            return True
        if self._reporter.as_json or not sys.stdin.isatty():
            raise SettingsError(f"{offer.text}. Pass --yes to confirm")
        if confirm("Send now?", aborts=False):
            return True
        say("Nothing was sent.")
        return False

    def _say_notes(self, plans: "Sequence[QuickPlan]") -> None:
        for line in _notes(plans):
            self._reporter.step("note", line)

    def _say_offer(self, offer: "Offer", plans: "Sequence[QuickPlan]") -> None:
        if self._reporter.as_json:
            print_json({**offer.as_data(), "videos": [_planned(plan) for plan in plans]})
            return
        say(f"{offer.text[:1].upper()}{offer.text[1:]}.")
        if offer.recipient:
            say(f"Spent this month: {format_usd(offer.spent_usd)} of {format_usd(offer.budget_usd)}.")
        self._say_notes(plans)
        if offer.problem:
            print_error(offer.problem)

    async def _execute(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.describe.claude.describer import ClaudeQuick

        if not offer.images and not (self._batch and any(plan.pending for plan in plans)):
            self._say_notes(plans)
            is_open = any(plan.pending or plan.unanswered or plan.uncertain or plan.sending for plan in plans)
            text = "Nothing to send." if is_open else "Everything is already described."
            self._reporter.step("done", text, answered=0, usd=0.0, problems=[])
            return 0
        if self._batch and isinstance(describer, ClaudeQuick):
            return await self._run_batch(describer, plans)
        return await self._run_now(describer, offer, plans)

    async def _run_now(self, describer: "QuickDescriber", offer: "Offer", plans: "Sequence[QuickPlan]") -> int:
        from enrich.quick.run import QuickRunResult, run_quick_pass

        result = QuickRunResult()
        reported_at = time.monotonic()

        def on_answers() -> None:
            nonlocal reported_at
            if time.monotonic() - reported_at < LINE_SECONDS and not self._reporter.as_json:
                return
            reported_at = time.monotonic()
            done = result.answered + len(result.problems)
            price = f", {format_usd(result.usd)}" if describer.recipient else ""
            text = f"{done:,} of {format_count(offer.images, 'image')}{price}"
            self._reporter.step("asking", text, done=done, pictures=offer.images, usd=result.usd)

        self._is_sending = bool(describer.recipient)
        for plan in plans:
            if result.error is None and not self._stopping.is_set():
                await run_quick_pass(
                    self._library, describer, plan, totals=result, stop=self._stopping, on_answers=on_answers
                )
        return self._report_result(describer, result, offer.images)

    def _report_result(self, describer: "QuickDescriber", result: "QuickRunResult", images: int) -> int:
        seconds = time.monotonic() - self._started_at
        sums = f", {format_usd(result.usd)}" if describer.recipient else ""
        self._reporter.step(
            "done",
            f"{result.answered:,} of {format_count(images, 'image')} described in {format_duration(seconds)}{sums}.",
            answered=result.answered,
            pictures=images,
            usd=result.usd,
            prompt_tokens=result.prompt_tokens,
            output_tokens=result.output_tokens,
            seconds=round(seconds, 1),
            problems=[{"label": label, "reason": reason} for label, reason in result.problems.items()],
            error=str(result.error) if result.error else None,
        )
        if result.taken:
            self._reporter.step("note", f"{format_count(result.taken, 'image')} described by another process.")
        report_problems(result.problems)
        if result.error is not None:
            print_error(
                f"{result.error}. Descriptions received so far are saved" if result.answered else str(result.error)
            )
        if self._stopping.is_set():
            return INTERRUPTED
        return 1 if result.error is not None or result.problems else 0

    async def _run_batch(self, describer: "ClaudeQuick", plans: "Sequence[QuickPlan]") -> int:
        from enrich.describe.claude.client import ImagesTakenError
        from enrich.quick.batches import send_batch

        for plan in plans:
            if plan.to_ask and not self._stopping.is_set():
                try:
                    task_id = await send_batch(self._library, describer, plan)
                except ImagesTakenError as error:
                    self._reporter.step("note", f"{one_line(plan.title)}: {error}.")
                    continue
                text = f"{format_count(len(plan.to_ask), 'image')} of {one_line(plan.title)} sent as a batch."
                self._reporter.step("sent", text, video_id=plan.video.id, task_id=task_id, pictures=len(plan.to_ask))
        video_ids = [plan.video.id for plan in plans]
        return await collect_batches(self._library, self._reporter, video_ids, stopping=self._stopping)

    def _interrupt(self) -> None:
        if self._is_sending:
            text = "Finishing the requests in flight, which are paid for. Press Ctrl-C again to end at once."
            self._reporter.step("stopping", text)
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
        "uncertain": plan.uncertain,
        "uncertain_usd": plan.uncertain_usd,
        "sending": plan.sending,
        "usd": plan.estimate.usd if plan.to_ask else 0.0,
    }


def _notes(plans: "Sequence[QuickPlan]") -> list[str]:
    """Additional lines to show before asking for confirmation."""
    lines = []
    if answered := sum(plan.answered for plan in plans):
        lines.append(f"{format_count(answered, 'image')} already described. Describe again with --again.")
    if unanswered := sum(plan.unanswered for plan in plans):
        lines.append(f"{format_count(unanswered, 'image')} paid for but without a reply. Retry with --unanswered.")
    if uncertain := sum(plan.uncertain for plan in plans):
        most_usd = sum(plan.uncertain_usd for plan in plans)
        lines.append(
            f"{format_count(uncertain, 'image')} may have been paid for without an answer arriving. Sending "
            f"{'it' if uncertain == 1 else 'them'} again may cost up to {format_usd(most_usd)}: pass --unanswered."
        )
    if sending := sum(plan.sending for plan in plans):
        lines.append(f"{format_count(sending, 'image')} being described by another process.")
    if waiting := sum(plan.pending for plan in plans):
        lines.append(f"{format_count(waiting, 'image')} pending in a batch.")
    return lines
