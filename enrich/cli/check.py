"""Commands that check: audit (was anything lost with what was left out?) and verify (does all belong together?)."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from enrich.cli.options import (
    AsJson,
    DescriberName,
    ModelName,
    Video,
    Videos,
    find_one_video,
    find_videos,
    open_library,
    settings_for,
)
from enrich.cli.output import Meter, meter, print_error, print_json, say
from enrich.cli.signals import INTERRUPTED, interruptible
from enrich.wording import clock, counted, first_line, span

if TYPE_CHECKING:
    from db.queries import VideoRow
    from enrich.audit.audit import Audit, AuditResult
    from enrich.audit.pairs import AuditPlan
    from enrich.audit.report import Pair, Report
    from enrich.describe.describer import Describer
    from enrich.library.library import Library
    from enrich.verify.verify import VerifyResult

LOOK_SECONDS = 0.5
SHOWN_PAIRS = 20
SHOWN_GROUPS = 40


def audit(
    video: Video,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many frames to compare.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Which ones: another number draws others.")] = 1,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Check on your own film that what was left out lost nothing.

    Random frames that were not kept are described too, and compared by picture and by words with the kept frames that
    stand for them. Ctrl-C ends it with what was compared so far. Exits 0 when it ran, also if frames disagree.
    """
    from enrich.audit.pairs import plan_audit
    from enrich.describe.registry import make_describer

    settings = settings_for(describer, model)
    library = open_library(settings)
    row = find_one_video(library, video)
    chosen = make_describer(settings)
    plan = plan_audit(library, row, chosen, size=sample, seed=seed)
    title = first_line(row.title)
    if not plan.sampled:
        if as_json:
            print_json(_audit_json(plan, chosen, None))
        else:
            say(f"{title}: every source frame is kept, so there is nothing to compare.")
        return
    if not as_json:
        say(f"{title}: {plan.sampled:,} of {counted(plan.left_out, 'frame')} left out, drawn with seed {seed}")
        say(f"About {counted(plan.calls, 'call')} to {chosen.model}: {span(plan.seconds)}")
    done = asyncio.run(_run_audit(library, chosen, plan))
    if as_json:
        print_json(_audit_json(plan, chosen, done))
    else:
        _say_audit(plan, chosen, done)
    if done.trouble is not None:
        print_error(str(done.trouble))
        raise typer.Exit(1)
    if done.is_stopped:
        raise typer.Exit(INTERRUPTED)


def verify(
    videos: Videos = None,
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode the films.")] = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Make pictures again, delete those of no frame; nothing else.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that all that is stored belongs together.

    Rows, pictures, source frames, replies and search: each film is decoded once. Exits 1 if there is any problem left.
    """
    from enrich.verify.verify import verify as check

    library = open_library()
    chosen = find_videos(library, videos)
    with meter() as show:

        def on_progress(video: "VideoRow", decoded: int) -> None:
            show(f"Checking {first_line(video.title, 30)}", decoded, video.frame_count)

        verdict = check(library, chosen, quick=quick, repair=mend, on_progress=on_progress)
    if as_json:
        print_json(_verdict_json(verdict))
    else:
        _say_verdict(verdict)
    if not verdict.is_consistent:
        raise typer.Exit(1)


async def _run_audit(library: "Library", describer: "Describer", plan: "AuditPlan") -> "AuditResult":
    from enrich.analyzer import host_problems
    from enrich.audit.audit import Audit

    try:
        for trouble in await host_problems(describer):
            print_error(str(trouble))
        running = Audit(library, describer, plan)
        with interruptible(running.stop), meter() as show:
            watching = asyncio.ensure_future(_watch(running, plan.sampled, show))
            try:
                return await running.run()
            finally:
                watching.cancel()
    finally:
        await describer.close()


async def _watch(running: "Audit", total: int, show: Meter) -> None:
    while True:
        show("Comparing", running.done, total)
        await asyncio.sleep(LOOK_SECONDS)


def _say_audit(plan: "AuditPlan", describer: "Describer", done: "AuditResult") -> None:
    report = done.report
    worse = report.disagreeing
    if done.is_stopped:
        say(f"Interrupted; compared so far: {len(report.pairs):,} of {plan.sampled:,}.")
    if not report.pairs:
        return
    agree = f"{len(report.pairs) - len(worse):,} of {len(report.pairs):,} agree"
    say(f"{agree}." if not worse else f"{agree}; these do not:" if len(worse) > 1 else f"{agree}; this one does not:")
    for pair in worse[:SHOWN_PAIRS]:
        _say_pair(report, pair)
    if len(worse) > SHOWN_PAIRS:
        say(f"… and {len(worse) - SHOWN_PAIRS:,} more in {done.folder}")
    moved = f"{report.moved:,} of them had moved, within {report.pace:g} s" if report.moved else ""
    by_picture = f"{report.by_image[0]:,} of {report.by_image[1]:,}{moved and f' ({moved})'}"
    say(f"By picture {by_picture} agree; {_by_words(report, describer.model)}")


def _by_words(report: "Report", model: str) -> str:
    judge = report.calibration
    if judge.separation is None:
        return (
            f"by words there is no telling: of {model}'s words for this film too few could be measured "
            f"({judge.same} for pictures seen twice, {judge.different} for different ones)."
        )
    if not judge.can_judge:
        return (
            f"the words of {model} cannot judge here: for two different pictures they are as alike as for one seen "
            f"twice in {1 - judge.separation:.0%} of cases, so the verdict is the pictures' alone."
        )
    return (
        f"by words {report.by_words[0]:,} of {report.by_words[1]:,} (alike from {judge.cutoff:.2f} on; "
        f"they tell one picture from two in {judge.separation:.0%} of cases)."
    )


def _say_pair(report: "Report", pair: "Pair") -> None:
    why = []
    if not pair.agreement.by_image:
        why.append(f"the picture changed (likeness {pair.likeness.image:.2f}, {report.threshold:.2f} is asked)")
    if pair.agreement.by_words is False:
        why.append(f"the words differ (likeness {pair.likeness.words or 0:.2f})")
    stands = f"frame {pair.kept_index} at {clock(pair.kept_timestamp)}"
    say(f"  {clock(pair.timestamp)}  frame {pair.index}, left to {stands}: {' and '.join(why)}")
    say(f"    kept:     {first_line(pair.kept_text) or 'not described'}")
    say(f"    left out: {first_line(pair.text) or 'not described'}")
    say(f"    pictures: {pair.kept_image}")
    say(f"              {pair.image}")


def _audit_json(plan: "AuditPlan", describer: "Describer", done: "AuditResult | None") -> dict[str, object]:
    value: dict[str, object] = {
        "video_id": plan.video.id,
        "title": plan.video.title,
        "describer": describer.name,
        "model": describer.model,
        "seed": plan.seed,
        "left_out": plan.left_out,
        "sampled": plan.sampled,
    }
    if done is None:
        return value
    report = done.report
    return value | {
        "compared": len(report.pairs),
        "agree": len(report.pairs) - len(report.disagreeing),
        "by_picture": {
            "agree": report.by_image[0],
            "of": report.by_image[1],
            "moved": report.moved,
            "least": report.threshold,
        },
        "by_words": {
            "agree": report.by_words[0],
            "of": report.by_words[1],
            "can_judge": report.calibration.can_judge,
            "separation": report.calibration.separation,
            "cut": report.calibration.cutoff,
        },
        "calls": done.calls,
        "is_stopped": done.is_stopped,
        "folder": done.folder,
        "pairs": [_pair_json(pair) for pair in report.pairs],
    }


def _pair_json(pair: "Pair") -> dict[str, object]:
    def path(picture: Path) -> Path | None:
        return None if pair.agreement.agrees else picture

    return {
        "index": pair.index,
        "timestamp": pair.timestamp,
        "kept_index": pair.kept_index,
        "kept_timestamp": pair.kept_timestamp,
        "agrees": pair.agreement.agrees,
        "by_picture": pair.agreement.by_image,
        "by_words": pair.agreement.by_words,
        "moved": pair.agreement.moved,
        "likeness": pair.likeness.image,
        "words_likeness": pair.likeness.words,
        "text": pair.text,
        "kept_text": pair.kept_text,
        "picture": path(pair.image),
        "kept_picture": path(pair.kept_image),
    }


def _say_verdict(verdict: "VerifyResult") -> None:
    for group in verdict.groups[:SHOWN_GROUPS]:
        where = f"{first_line(group.title)} ({group.video_id}): " if group.title else ""
        more = f" … and {group.count - len(group.places):,} more" if group.count > len(group.places) else ""
        mended = f"Mended: {group.repaired:,}. " if group.repaired else ""
        remedy = f"Mend it: {group.remedy}" if group.left else ""
        say(f"{where}{group.count:,} × {group.problem}: {'; '.join(group.places)}{more}. {mended}{remedy}".rstrip())
    if len(verdict.groups) > SHOWN_GROUPS:
        say(f"… and {len(verdict.groups) - SHOWN_GROUPS:,} more kinds of problems: --json lists all")
    if verdict.skipped:
        titles = ", ".join(first_line(title, 40) for title in verdict.skipped[:5])
        say(f"A worker runs; left out, since it has them in hand: {counted(len(verdict.skipped), 'video')} ({titles})")
    checked = f"{counted(verdict.frames, 'frame')} of {counted(verdict.videos, 'video')}"
    if not verdict.found:
        say(f"{checked}: all belong together.")
        return
    mended = f", {verdict.repaired:,} mended" if verdict.repaired else ""
    say(f"{checked}: {counted(verdict.found, 'problem')}{mended}.")


def _verdict_json(verdict: "VerifyResult") -> dict[str, object]:
    return {
        "videos": verdict.videos,
        "frames": verdict.frames,
        "problems": verdict.found,
        "mended": verdict.repaired,
        "left_out": verdict.skipped,
        "groups": [
            {
                "kind": group.kind,
                "video_id": group.video_id,
                "title": group.title,
                "count": group.count,
                "mended": group.repaired,
                "what": group.problem,
                "places": group.places,
                "remedy": group.remedy,
            }
            for group in verdict.groups
        ],
    }
