"""The runs table: the worker writes the state of its run, other processes read it and request changes.

Requests (stop, pause, resume) are written to the row; the worker reads them with each heartbeat and clears them when it
has carried them out. A stop that a crashed worker has not carried out is passed on to the worker that its supervisor
starts next. Every function runs in its caller's transaction; `now` is an argument.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, insert, select, update

from db.models import LIVE_STATES, Run, RunState

STOP, PAUSE, RESUME = "stop", "pause", "resume"  # what can be requested of a run


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Identifies a process by machine, process id and create time, because process ids are reused.

    The host name is for people, and may change while the process runs. It stands for the machine only where the
    machine's id is unknown: in runs that began before schema 0002, and where no id can be stored.
    """

    hostname: str
    pid: int
    created_at: float  # seconds, in a clock of its machine that is never adjusted
    machine_id: str | None = None  # see enrich.process

    def __str__(self) -> str:
        return f"{self.hostname} {self.pid} {self.created_at!r} {self.machine_id or '-'}"

    @classmethod
    def parse(cls, text: str) -> "ProcessIdentity | None":
        """The identity from its text; None if the text is none."""
        try:
            hostname, pid, created_at, machine_id = text.rsplit(" ", 3)
            return cls(hostname, int(pid), float(created_at), None if machine_id == "-" else machine_id)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that has not ended according to its row."""

    id: int
    process: ProcessIdentity
    started_at: datetime
    heartbeat_at: datetime
    state: RunState


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of `runs`; `supervisor` is on the same machine as the worker."""

    id: int
    process: ProcessIdentity
    supervisor: ProcessIdentity | None
    started_at: datetime
    heartbeat_at: datetime
    progress_at: datetime | None
    state: RunState
    reason: str | None
    requested: str | None
    options: dict[str, Any]
    counts: dict[str, Any]
    activity: dict[str, Any]
    error: str | None
    log_path: str | None

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended according to its row."""
        return self.state not in LIVE_STATES


class BusyError(Exception):
    """Another worker is running on this library; `run` is its run."""

    def __init__(self, run: LiveRun) -> None:
        super().__init__(f"run {run.id} is alive")
        self.run = run


def live_runs(connection: Connection) -> list[LiveRun]:
    """The runs that have not ended according to their rows; one of them may have crashed."""
    rows = connection.execute(select(Run.__table__).where(Run.state.in_(LIVE_STATES)).order_by(Run.id))
    return [
        LiveRun(
            id=row.id,
            process=_process(row),
            started_at=row.started_at,
            heartbeat_at=row.heartbeat_at,
            state=RunState(row.state),
        )
        for row in rows
    ]


def last_run(connection: Connection) -> RunRow | None:
    """The run that started last, None if there was none."""
    row = connection.execute(select(Run.__table__).order_by(Run.id.desc()).limit(1)).one_or_none()
    return None if row is None else _run(row)


def run(connection: Connection, run_id: int) -> RunRow:
    """One run."""
    return _run(connection.execute(select(Run.__table__).where(Run.id == run_id)).one())


def begin(
    connection: Connection,
    process: ProcessIdentity,
    *,
    supervisor: ProcessIdentity | None = None,
    log_path: str | None = None,
    options: dict[str, Any],
    is_alive: Callable[[LiveRun], bool],
    now: datetime,
) -> tuple[int, list[int]]:
    """Start the only run of a library. Returns its id, and the ids of dead runs, whose tasks the caller must sweep.

    If a stop is still requested of the last run of the same supervisor, it is requested of the new one.

    Call it in a write transaction, so that no other run starts between the check and the insert. Raises BusyError.
    """
    dead = []
    for run in live_runs(connection):
        if is_alive(run):
            raise BusyError(run)
        dead.append(run.id)
    if dead:
        connection.execute(
            update(Run).where(Run.id.in_(dead)).values(state=RunState.CRASHED, reason="its process is gone")
        )
    supervised_by = {"pid": supervisor.pid, "created_at": supervisor.created_at} if supervisor else None
    last = connection.execute(select(Run.supervisor, Run.requested).order_by(Run.id.desc()).limit(1)).one_or_none()
    is_stopping = supervised_by is not None and last == (supervised_by, STOP)
    run_id = connection.execute(
        insert(Run)
        .values(
            hostname=process.hostname,
            machine_id=process.machine_id,
            pid=process.pid,
            process_created_at=process.created_at,
            supervisor=supervised_by,
            requested=STOP if is_stopping else None,
            log_path=log_path,
            started_at=now,
            heartbeat_at=now,
            options=options,
            counts={},
        )
        .returning(Run.id)
    ).scalar_one()
    return run_id, dead


def record_heartbeat(
    connection: Connection,
    run_id: int,
    *,
    counts: dict[str, Any],
    activity: dict[str, Any] | None = None,
    now: datetime,
) -> str | None:
    """Write a heartbeat with the run's counts and activity. Returns the pending request, None if there is none."""
    values = {"heartbeat_at": now, "counts": counts, "activity": activity}
    connection.execute(update(Run).where(Run.id == run_id).values(values))
    return requested(connection, run_id)


def requested(connection: Connection, run_id: int) -> str | None:
    """The pending request of a run, None if there is none."""
    return connection.scalar(select(Run.requested).where(Run.id == run_id))


def request(connection: Connection, run_id: int, request: str) -> None:
    """Request a run to stop, pause or resume; replaces an earlier request."""
    connection.execute(update(Run).where(Run.id == run_id).values(requested=request))


def clear_request(connection: Connection, run_id: int, request: str) -> None:
    """Clear a request that was carried out, unless a newer one has replaced it."""
    connection.execute(update(Run).where(Run.id == run_id, Run.requested == request).values(requested=None))


def record_progress(connection: Connection, run_id: int, *, now: datetime) -> None:
    """Set the progress timestamp: the run has just finished something."""
    connection.execute(update(Run).where(Run.id == run_id).values(progress_at=now))


def set_state(
    connection: Connection,
    run_id: int,
    state: RunState,
    *,
    reason: str | None = None,
    activity: dict[str, Any] | None = None,
) -> None:
    """Set a run's state, the reason for it, and its activity."""
    connection.execute(update(Run).where(Run.id == run_id).values(state=state, reason=reason, activity=activity))


def end(
    connection: Connection,
    run_id: int,
    state: RunState,
    *,
    counts: dict[str, Any],
    now: datetime,
    error: str | None = None,
) -> None:
    """End a run. A crashed run keeps its pending request, which its supervisor reads."""
    values = {"state": state, "reason": None, "counts": counts, "activity": None, "heartbeat_at": now, "error": error}
    if state is not RunState.CRASHED:
        values["requested"] = None
    connection.execute(update(Run).where(Run.id == run_id).values(values))


def end_dead_run(connection: Connection, run_id: int, state: RunState, *, error: str) -> bool:
    """End a run whose process is gone. Returns whether its row was still live."""
    dead = update(Run).where(Run.id == run_id, Run.state.in_(LIVE_STATES))
    values = {"state": state, "reason": None, "error": error, "activity": None}
    return cast("CursorResult[Any]", connection.execute(dead.values(values))).rowcount == 1


def set_error(connection: Connection, run_id: int, error: str) -> None:
    """Set the error a run ended with."""
    connection.execute(update(Run).where(Run.id == run_id).values(error=error))


def _run(row: Any) -> RunRow:
    process, supervisor = _process(row), row.supervisor
    return RunRow(
        id=row.id,
        process=process,
        supervisor=replace(process, pid=supervisor["pid"], created_at=supervisor["created_at"]) if supervisor else None,
        started_at=row.started_at,
        heartbeat_at=row.heartbeat_at,
        progress_at=row.progress_at,
        state=RunState(row.state),
        reason=row.reason,
        requested=row.requested,
        options=row.options,
        counts=row.counts,
        activity=row.activity or {},
        error=row.error,
        log_path=row.log_path,
    )


def _process(row: Any) -> ProcessIdentity:
    return ProcessIdentity(row.hostname, row.pid, row.process_created_at, row.machine_id)
