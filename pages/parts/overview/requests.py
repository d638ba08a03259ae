"""Requests to the worker (start, stop, pause, resume): each runs as a job, so the click that makes it returns at once.

The job runs `everyframe start` or the like in a process of its own. It outlives the tab and the dashboard, kills a
worker that does not stop in time, and keeps its error for every tab to show. Whether a request is in flight is not
stored anywhere: it follows from the newest job and the worker's row in the runs table.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, time
from enum import StrEnum
from typing import assert_never

from db import runs
from db.models import RunState
from db.runs import RunRow
from enrich.control.status import Status
from enrich.jobs.jobs import Job, delete_job, jobs, start_job
from enrich.settings import Settings

KIND = "worker"  # of the jobs
_sending = threading.Lock()  # `start_job` finds a running job of the same request only once that has been started


class WorkerRequest(StrEnum):
    """What a button asks of the worker; the value is the command."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class RequestJob:
    """The job that carries out a request. `error` is empty while it runs and after it succeeded."""

    id: str
    request: WorkerRequest
    started_at: datetime
    is_running: bool
    error: str


def send_request(settings: Settings, request: WorkerRequest, *, stop_at: time | None = None) -> None:
    """Start the job for a request, without waiting for it; not again while the same request is being carried out.

    `stop_at`: the local time of day at which a started worker stops. Raises ControlError if no process can be started.
    """
    options = ("--by", f"{stop_at:%H:%M}") if stop_at is not None else ()
    with _sending:
        started = start_job(settings, KIND, request.value, *options, prints_json=False)
        for job in jobs(settings, KIND):
            if job.id != started.id:
                delete_job(settings, job.id)  # only if it has ended


def newest_request(settings: Settings) -> RequestJob | None:
    """The request that was made last, None if there was none or its job has been dismissed."""
    return next((_request_job(job) for job in jobs(settings, KIND)), None)


def dismiss_request(settings: Settings, job_id: str) -> None:
    """Forget a request that has ended, and its error."""
    delete_job(settings, job_id)


def request_in_flight(found: Status, job: RequestJob | None) -> WorkerRequest | None:
    """The request that has been made and that the worker's row does not show yet, None if there is none.

    `job` must have been read before `found`: a job that ends in between has changed the row by then.
    """
    if job is None or not job.is_running:
        return None
    match job.request:
        case WorkerRequest.START:
            is_done = found.is_running or _began_after(found.run, job)
        case WorkerRequest.STOP:
            # A process that was terminated has not ended its run: `everyframe stop` does, a moment later.
            has_ended = found.run is None or found.run.has_ended
            is_done = has_ended and not found.is_supervised
        case WorkerRequest.PAUSE:
            is_done = is_paused(found)
        case WorkerRequest.RESUME:
            is_done = not is_paused(found)
        case _:
            assert_never(job.request)
    return None if is_done else job.request


def failed_request(found: Status, job: RequestJob | None) -> RequestJob | None:
    """The last request if it failed, unless a worker has been started or, for a stop, has stopped since."""
    if job is None or not job.error or _began_after(found.run, job):
        return None
    has_stopped = not (found.is_running or found.is_supervised)
    return None if job.request is WorkerRequest.STOP and has_stopped else job


def is_paused(found: Status) -> bool:
    """Whether the worker is paused, or will be as soon as its requests in flight have ended."""
    requested = found.run.requested if found.run is not None else None
    return requested == runs.PAUSE or (found.state is RunState.PAUSED and requested != runs.RESUME)


def _began_after(run: RunRow | None, job: RequestJob) -> bool:
    return run is not None and run.started_at > job.started_at


def _request_job(job: Job) -> RequestJob:
    has_failed = job.exit_code not in (0, None)  # None: still running, or the process was killed
    return RequestJob(
        job.id, WorkerRequest(job.words[0]), job.started_at, job.is_running, job.error if has_failed else ""
    )
