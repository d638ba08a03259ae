"""The run record: a run's row in the database. Only one worker may have a live run on a library."""

import asyncio
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from db import queries, queue, runs, store
from db.engine import reading, writing
from db.errors import StorageError
from db.models import QUICK, RunState, TaskKind
from db.runs import ProcessIdentity
from enrich.describe.describer import Describer, Pass
from enrich.errors import RunningError
from enrich.library.completion import damaged_videos
from enrich.library.library import Library
from enrich.logs import Action, about, set_run
from enrich.process import is_alive, is_local, this_process
from enrich.worker.leases import sweep_abandoned
from enrich.worker.run_options import RunCounts, RunEnd, RunOptions, RunSummary

log = logging.getLogger(__name__)

_live_here: set[tuple[str, int]] = set()  # library and id of the runs of this process


class RunRecord:
    """One live run. Its methods may be called from any thread."""

    def __init__(self, library: Library, run_id: int) -> None:
        self._library = library
        self.id = run_id

    @classmethod
    def begin(
        cls,
        library: Library,
        describer: Describer | None,
        options: RunOptions,
        *,
        supervisor: ProcessIdentity | None,
        log_path: str | None,
        until: str | None,
    ) -> Self:
        """Begin a run and return the claims of a dead one to the queue. Raises RunningError if another run is live."""
        description = {
            "describer": describer.name if describer else None,
            "model": describer.model if describer else None,
            "hosts": list(describer.hosts) if describer else [],
            "videos": sorted(options.video_ids) if options.video_ids is not None else None,
            "call_seconds": library.settings.call_seconds,
            "load_seconds": library.settings.load_seconds,
            "until": until,
        }
        now = datetime.now(UTC)
        try:
            with writing(library.engine) as connection:
                run_id, _ = runs.begin(
                    connection,
                    this_process(),
                    supervisor=supervisor,
                    log_path=log_path,
                    options=description,
                    is_alive=partial(_is_alive, library),
                    now=now,
                )
                swept = sweep_abandoned(connection, now=now)
                for kind in TaskKind:
                    queue.make_due(connection, kind=kind, video_ids=options.video_ids)
                if describer is not None and describer.target_pass is Pass.QUICK:
                    store.plan_pass(connection, QUICK, video_ids=options.video_ids)
        except runs.BusyError as error:
            process = error.run.process
            raise RunningError(
                f"a worker is already running on this library (process {process.pid} on {process.hostname}, "
                f"since {error.run.started_at:%Y-%m-%d %H:%M} UTC): stop it first with `everyframe stop`"
            ) from error
        _live_here.add(_key(library, run_id))
        set_run(run_id)
        if swept:
            log.info("returned %d tasks of a dead run to the queue", swept, extra=about(Action.TASKS_SWEPT))
        log.info("run %d began", run_id, extra=about(Action.RUN_BEGAN, run=run_id))
        return cls(library, run_id)

    def change(self, state: RunState, reason: str | None, activity: Mapping[str, Any]) -> None:
        """Write the state, its reason, and the activity."""
        with writing(self._library.engine) as connection:
            runs.set_state(connection, self.id, state, reason=reason, activity=dict(activity))

    def request_done(self, request: str) -> None:
        """Record that a request was carried out."""
        with writing(self._library.engine) as connection:
            runs.clear_request(connection, self.id, request)

    def end(self, ending: RunEnd, error: BaseException | None, *, counts: dict[str, Any]) -> RunState:
        """End the run and return its final state. Its claims are released, unless it crashed."""
        if error is not None and not isinstance(error, asyncio.CancelledError):
            state, text = RunState.CRASHED, f"{type(error).__name__}: {error}"
        else:
            state, text = (RunState.STOPPED if ending is RunEnd.STOPPED else RunState.FINISHED), None
        now = datetime.now(UTC)
        with writing(self._library.engine) as connection:
            if state is RunState.CRASHED and not isinstance(error, StorageError):  # that is no task's fault
                store.count_crash(connection, self.id, now=now)
            else:
                queue.release_run(connection, self.id)
            runs.end(connection, self.id, state, counts=counts, now=now, error=text)
        log.info("run %d ended: %s", self.id, ending, extra=about(Action.RUN_ENDED, run=self.id))
        self.close()
        return state

    def summary(
        self, options: RunOptions, pass_: str, *, ending: RunEnd, counts: RunCounts, seconds: float
    ) -> RunSummary:
        """What the run has done and what is left. Reads the database."""
        with reading(self._library.engine) as connection:
            videos = options.video_ids
            waiting = queries.open_extractions(connection, videos) if options.extract else []
            left = queries.progress(connection, pass_, videos).left if options.describe else 0
            return RunSummary(
                run_id=self.id,
                ending=ending,
                counts=counts,
                seconds=seconds,
                left=left,
                failures=queries.failures(connection, videos),
                waiting=[(video.title, video.error) for video in waiting if video.error],
                damaged=damaged_videos(queries.videos(connection, videos)) if options.extract else [],
            )

    def close(self) -> None:
        """The run is over, even if its row could not be ended: the next run in this process ends it."""
        _live_here.discard(_key(self._library, self.id))
        set_run(None)


def _key(library: Library, run_id: int) -> tuple[str, int]:
    return library.settings.url, run_id


def _is_alive(library: Library, run: runs.LiveRun) -> bool:
    """Whether a run's process exists and, if it is this one, still works on it."""
    is_here = is_local(run.process) and run.process.pid == os.getpid()
    return is_alive(run) and (not is_here or _key(library, run.id) in _live_here)
