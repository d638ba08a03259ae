"""The sentences about the worker and the library that the dashboard and the command line share, so that both agree.

A sentence is shown only when it is true: no model "describes" before a host has passed its check, no time is left
before there are frames to calculate it from, and nothing is finished while something failed or a file is damaged.
"""

import math
from datetime import datetime, timedelta

from db.models import HostState
from enrich.clock import format_deadline
from enrich.control.status import BASELINE, Status, WorkerHealth
from enrich.wording import format_count, format_duration, format_finish_time

MAX_SECONDS_LEFT = 100 * 86_400.0  # longer times are not stated
ROUNDING_STEPS = ((120, 5), (7200, 60), (172_800, 600))  # seconds: times below the first are rounded to the second
ALL_DESCRIBED = "All frames are described."
DAMAGED_STEP = "Their files are damaged. Copy them from the original again, remove them, then add the copies."
ALL_MEASURED = "All frames are measured by the baseline, not described by a model."


def is_finished(found: Status) -> bool:
    """Whether nothing is left to extract or describe; some of it may have failed."""
    return not found.left and not found.videos_open


def problems(found: Status) -> list[str]:
    """What keeps the library from being completely described though nothing is left to do."""
    texts = []
    if found.videos_failed:
        texts.append(f"{format_count(found.videos_failed, 'video')} could not be extracted")
    if found.damaged:
        texts.append(f"{format_count(len(found.damaged), 'video')} damaged")
    if found.failed:
        texts.append(f"{format_count(found.failed, 'frame')} failed")
    return texts


def finished_text(found: Status) -> str:
    """The end of the work in a sentence. Call it if `is_finished`."""
    if not found.videos:
        return "The library has no videos."
    if texts := problems(found):
        return f"Nothing is left to do, but not all is described: {', '.join(texts)}."
    return ALL_MEASURED if _describer(found) == BASELINE and found.is_running else ALL_DESCRIBED


def work_text(found: Status) -> str | None:
    """What a running worker does now: `Extracting frames from wedding.`; None if it does nothing."""
    texts = []
    if found.video is not None:
        texts.append(f"Extracting frames from {found.video}.")
    elif found.run is not None and found.run.activity.get("skimming"):
        texts.append("Previewing videos.")
    if (checking := checking_text(found)) is not None:
        texts.append(checking)
    elif any(host.calls for host in found.hosts) or (found.left and _is_serving(found)):
        is_baseline = _describer(found) == BASELINE
        texts.append("Measuring frames." if is_baseline else f"Describing frames with {_model(found)}.")
    return " ".join(texts) or None


def checking_text(found: Status) -> str | None:
    """Which model is being loaded and checked, and where; None if a host has passed, or none is checked."""
    if found.run is None or _is_serving(found) or _describer(found) in (None, BASELINE):
        return None
    hosts = [host.host for host in found.hosts if host.state == HostState.PROBING]
    return f"Checking {_model(found)} on {', '.join(hosts)}." if hosts else None


def frames_text(found: Status) -> str:
    """The frames described, of those there are to describe: 1,234/5,000, 1,234/about 5,000, 12/estimating."""
    expected = found.completion.frames_expected
    if found.completion.is_counted:
        return f"{found.described:,}/{found.frames:,}"
    if expected is None:
        return f"{found.described:,}/estimating"
    return f"{found.described:,}/about {rounded(max(expected, found.described)):,}"


def covered_text(found: Status) -> str:
    """The source frames covered: 104 of about 4,833 source frames. The number in a header is an estimate."""
    done = found.completion
    kind = "readable" if found.damaged else "source"
    if done.source_frames is None:
        return f"{done.covered:,} {kind} frames"
    about = "" if done.is_counted else "about "
    return f"{done.covered:,} of {about}{done.source_frames:,} {kind} frames"


def rounded(count: int) -> int:
    """An estimated count, rounded up to two digits: more would claim to be exact."""
    size: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // size) * size


def time_left_text(found: Status, now: datetime) -> str:
    """The time left, or the work left while there is no basis for a time. `now`: in the local time zone."""
    if is_finished(found):
        return "nothing left to describe"
    work = _work_left(found)
    if found.seconds_left is None:
        is_timing = found.health is WorkerHealth.WELL and found.rate_seconds is not None
        return f"{work}, estimating the time" if is_timing else work
    if found.seconds_left > MAX_SECONDS_LEFT:
        return f"{work}, more than {format_duration(MAX_SECONDS_LEFT)}"
    duration = f"about {_rough_duration(found.seconds_left)}"
    if found.until is not None and now + timedelta(seconds=found.seconds_left) > found.until:
        return f"{duration} left, stops before that at {format_deadline(found.until, now)}"
    hours = found.run.activity.get("hours") if found.run is not None else None
    within = f", within working hours {hours}" if hours else ""
    return f"{duration} left, by {format_finish_time(found.seconds_left, now)}{within}"


def _rough_duration(seconds: float) -> str:
    """A duration rounded up to what an estimate can promise."""
    step = next((step for limit, step in ROUNDING_STEPS if seconds < limit), 3600)
    return format_duration(math.ceil(seconds / step) * step)


def _work_left(found: Status) -> str:
    parts = [f"{format_count(found.left, 'frame')} left"] if found.left else []
    if found.videos_open:
        parts.append(f"{format_count(found.videos_open, 'video')} to extract")
    return " and ".join(parts)


def _is_serving(found: Status) -> bool:
    return any(host.state == HostState.SERVING for host in found.hosts)


def _describer(found: Status) -> str | None:
    return found.run.options.get("describer") if found.run is not None else None


def _model(found: Status) -> str:
    return str((found.run.options.get("model") if found.run is not None else None) or "the model")
