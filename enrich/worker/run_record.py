"""The run record: a run's row in the database. Only one worker may have a live run on a library."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from db import queue, runs, store
from db.engine import writing
from db.models import QUICK, RunState, TaskKind
from db.runs import ProcessIdentity
from enrich.describe.describer import Describer, Pass
from enrich.errors import RunningError
from enrich.library.library import Library
from enrich.logs import Action, about, set_run
from enrich.process import is_alive, this_process
from enrich.worker.lease_sweep import sweep_abandoned
from enrich.worker.run_options import RunEnd, RunOptions

log = logging.getLogger(__name__)


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
                    is_alive=is_alive,
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
            if state is RunState.CRASHED:
                store.count_crash(connection, self.id, now=now)
            else:
                queue.release_run(connection, self.id)
            runs.end(connection, self.id, state, counts=counts, now=now, error=text)
        log.info("run %d ended: %s", self.id, ending, extra=about(Action.RUN_ENDED, run=self.id))
        set_run(None)
        return state
