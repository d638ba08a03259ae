"""Failed attempts at a video: what happens after an error that nothing foresaw, such as an IndexError or a MemoryError.

It may be the fault of the video, of the computer at that moment, or of EveryFrame. So it counts as an attempt of the
video's task, which is tried again after a pause and failed with its reason at the limit. Other videos go on.
"""

import logging
from datetime import UTC, datetime, timedelta

from db import extraction, queries, queue
from db.engine import writing
from db.models import TaskStatus
from enrich.library.library import Library
from enrich.logs import Action, about
from enrich.wording import format_duration, one_line

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (60.0, 300.0)  # after the first attempt, after later ones
TRY_LATER = "trying again in {pause}"
GIVEN_UP = "retry it with `everyframe retry`; if it fails again, report the traceback in the log"


def fail_attempt(library: Library, task: queue.ClaimedTask, error: Exception) -> str:
    """Count a failed attempt of a skim or an extraction, and log its traceback. Returns the reason for the user.

    Frames that were saved stay. Raises LeaseLostError, or NoSuchVideoError if the video was removed.
    """
    is_last = task.attempts + 1 >= queue.ATTEMPT_LIMIT
    pause = BACKOFF_SECONDS[min(task.attempts, len(BACKOFF_SECONDS) - 1)]
    details = ": ".join(part for part in (type(error).__name__, one_line(str(error), 300)) if part)
    next_step = GIVEN_UP if is_last else TRY_LATER.format(pause=format_duration(pause))
    now = datetime.now(UTC)
    with writing(library.engine) as connection:
        video = queries.video(connection, task.video_id)
        reason = f"{video.path} could not be processed ({details}): {next_step}"
        status = extraction.fail_attempt(connection, task, error=reason, not_before=now + timedelta(seconds=pause))
    is_failed = status is TaskStatus.FAILED
    log.log(
        logging.ERROR if is_failed else logging.WARNING,
        "%s: unexpected error in the %s task, attempt %d of %d",
        video.title,
        task.kind,
        task.attempts + 1,
        queue.ATTEMPT_LIMIT,
        exc_info=error,
        extra=about(Action.VIDEO_FAILED if is_failed else Action.VIDEO_WAITING, video=video.id),
    )
    return reason
