"""Commands that check a library: audit (were the skipped frames redundant?) and verify (is the data consistent?)."""

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
from enrich.cli.output import INTERRUPTED, Meter, interruptible, meter, print_error, print_json, say
from enrich.wording import format_count, format_duration, format_timestamp, one_line

if TYPE_CHECKING:
    from db.queries import VideoRow
    from enrich.audit.audit import Audit, AuditResult
    from enrich.audit.pairs import AuditPlan
    from enrich.audit.report import Pair, Report
    from enrich.describe.describer import Describer
    from enrich.library.library import Library
    from enrich.verify.verify import VerifyResult

POLL_SECONDS = 0.5
SHOWN_PAIRS = 20
SHOWN_GROUPS = 40


def audit(
    video: Video,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Number of skipped frames to compare.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Random seed; another seed picks other frames.")] = 1,
    describer: DescriberName = None,
    model: ModelName = None,
    as_json: AsJson = False,
) -> None:
    """Test whether the skipped frames of a video were redundant.

    Describes a random sample of frames that were not kept, and compares image and description with the kept frame that
    represents them. Ctrl-C stops early and reports the results so far. Exits with 0 even if some frames differ.

    Example: everyframe audit wedding --sample 50
    """
    from enrich.audit.pairs import plan_audit
    from enrich.describe.registry import make_describer

    settings = settings_for(describer, model)
    library = open_library(settings)
    row = find_one_video(library, video)
    chosen = make_describer(settings)
    plan = plan_audit(library, row, chosen, size=sample, seed=seed)
    title = one_line(row.title)
    if not plan.sampled:
        if as_json:
            print_json(_audit_json(plan, chosen, None))
        else:
            say(f"{title}: no frames were skipped, so there is nothing to compare.")
        return
    if not as_json:
        say(f"{title}: comparing {plan.sampled:,} of {format_count(plan.left_out, 'skipped frame')} (seed {seed})")
        requests, seconds = format_count(plan.calls, "request"), format_duration(plan.seconds)
        say(f"About {requests} to {chosen.model}; estimated time: {seconds}")
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
    quick: Annotated[bool, typer.Option("--quick", help="Skip decoding the videos.")] = False,
    mend: Annotated[
        bool,
        typer.Option(
            "--mend",
            help="Recreate missing, damaged or wrong images, queue what was described from a wrong image again, "
            "queue videos with wrong positions for extraction, delete orphaned images, and recount stored counts.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check the library for inconsistencies.

    Compares database, images, videos, model replies and search index. Decodes each video once unless --quick is given.
    A video that cannot be checked is reported, and the others are checked. Exits with 1 if any problem remains.

    Example: everyframe verify wedding --mend
    """
    from enrich.verify.verify import verify as verify_library

    library = open_library()
    chosen = find_videos(library, videos)
    with meter() as show:

        def on_progress(video: "VideoRow", decoded: int) -> None:
            show(f"Checking {one_line(video.title, 30)}", decoded, video.frame_count)

        result = verify_library(library, chosen, quick=quick, repair=mend, on_progress=on_progress)
    if as_json:
        print_json(_verify_json(result))
    else:
        _say_verify_result(result)
    if not result.is_consistent:
        raise typer.Exit(1)


async def _run_audit(library: "Library", describer: "Describer", plan: "AuditPlan") -> "AuditResult":
    from enrich.audit.audit import Audit
    from enrich.describe.asking import host_problems

    try:
        for problem in await host_problems(describer):
            print_error(str(problem))
        task = Audit(library, describer, plan)
        with interruptible(task.stop), meter() as show:
            progress = asyncio.ensure_future(_show_progress(task, plan.sampled, show))
            try:
                return await task.run()
            finally:
                progress.cancel()
    finally:
        await describer.close()


async def _show_progress(task: "Audit", total: int, show: Meter) -> None:
    while True:
        show("Comparing", task.done, total)
        await asyncio.sleep(POLL_SECONDS)


def _say_audit(plan: "AuditPlan", describer: "Describer", done: "AuditResult") -> None:
    report = done.report
    worse = report.disagreeing
    if done.is_stopped:
        say(f"Interrupted after {len(report.pairs):,} of {plan.sampled:,} frames.")
    if not report.pairs:
        return
    redundant = f"{len(report.pairs) - len(worse):,} of {len(report.pairs):,} skipped frames were redundant"
    say(f"{redundant}; the others differ from the kept frame:" if worse else f"{redundant}.")
    for pair in worse[:SHOWN_PAIRS]:
        _say_pair(report, pair)
    if len(worse) > SHOWN_PAIRS:
        say(f"… and {len(worse) - SHOWN_PAIRS:,} more in {done.folder}")
    moved = f" ({report.moved:,} differ but are within {report.pace:g} s of the kept frame)" if report.moved else ""
    say(f"By image: {report.by_image[0]:,} of {report.by_image[1]:,} match{moved}.")
    say(f"By description: {_by_words(report, describer.model)}")


def _by_words(report: "Report", model: str) -> str:
    judge = report.calibration
    if judge.separation is None:
        return (
            f"not enough descriptions by {model} to compare wording "
            f"({judge.same} of the same image, {judge.different} of different images)."
        )
    if not judge.can_judge:
        return (
            f"the wording of {model} is too inconsistent here: in {1 - judge.separation:.0%} of cases, two different "
            "images get descriptions as similar as two of the same image. Only the images were compared."
        )
    return (
        f"{report.by_words[0]:,} of {report.by_words[1]:,} match (similarity at least {judge.cutoff:.2f}, which tells "
        f"different images apart in {judge.separation:.0%} of cases)."
    )


def _say_pair(report: "Report", pair: "Pair") -> None:
    reasons = []
    if not pair.agreement.by_image:
        reasons.append(f"the image differs (likeness {pair.likeness.image:.2f}, threshold {report.threshold:.2f})")
    if pair.agreement.by_words is False:
        reasons.append(f"the description differs (similarity {pair.likeness.words or 0:.2f})")
    kept = f"frame {pair.kept_index} at {format_timestamp(pair.kept_timestamp)}"
    say(f"  {format_timestamp(pair.timestamp)}  frame {pair.index}, represented by {kept}: {' and '.join(reasons)}")
    say(f"    kept:    {one_line(pair.kept_text) or 'not described'}")
    say(f"    skipped: {one_line(pair.text) or 'not described'}")
    say(f"    images:  {pair.kept_image}")
    say(f"             {pair.image}")


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
    def path(image: Path) -> Path | None:
        return None if pair.agreement.agrees else image

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


def _say_verify_result(result: "VerifyResult") -> None:
    for group in result.groups[:SHOWN_GROUPS]:
        where = f"{one_line(group.title)} ({group.video_id}): " if group.title else ""
        more = f" … and {group.count - len(group.places):,} more" if group.count > len(group.places) else ""
        repaired = f"Repaired: {group.repaired:,}. " if group.repaired else ""
        fix = f"Fix: {group.remedy}" if group.left else ""
        say(f"{where}{group.count:,} × {group.problem}: {'; '.join(group.places)}{more}. {repaired}{fix}".rstrip())
    if len(result.groups) > SHOWN_GROUPS:
        say(f"… and {len(result.groups) - SHOWN_GROUPS:,} more kinds of problems; list all with --json")
    if result.skipped:
        titles = ", ".join(one_line(title, 40) for title in result.skipped[:5])
        count = format_count(len(result.skipped), "video")
        say(f"Skipped {count} not fully extracted yet, because a worker is running: {titles}")
    checked = f"{format_count(result.frames, 'frame')} of {format_count(result.videos, 'video')}"
    if result.found:
        repaired = f", {result.repaired:,} repaired" if result.repaired else ""
        say(f"{checked}: {format_count(result.found, 'problem')} found{repaired}.")
    else:
        say(f"{checked}: no problems found.")
    for step in _next_steps(result):
        say(step)


def _next_steps(result: "VerifyResult") -> list[str]:
    """What is still to be done after repairs, this one or an earlier one."""
    steps = []
    if result.discarded.deep:
        count = format_count(result.discarded.deep, "frame")
        steps.append(f"Descriptions of wrong images were discarded: {count} to describe again.")
    if result.queued:
        titles = ", ".join(one_line(title, 40) for title in result.queued[:5])
        steps.append(f"Queued for extraction again: {format_count(len(result.queued), 'video')} ({titles}).")
    if steps:
        steps[-1] += " Run `everyframe enrich` or `everyframe start`."
    if result.discarded.quick:
        count = format_count(result.discarded.quick, "key frame")
        steps.append(
            f"Quick descriptions of wrong images were discarded: {count}. `everyframe quick` pays for new ones."
        )
    return steps


def _verify_json(result: "VerifyResult") -> dict[str, object]:
    return {
        "videos": result.videos,
        "frames": result.frames,
        "problems": result.found,
        "mended": result.repaired,
        "left_out": result.skipped,
        "to_describe": result.discarded.deep,
        "to_describe_quick": result.discarded.quick,
        "to_extract": result.queued,
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
            for group in result.groups
        ],
    }
