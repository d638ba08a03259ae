"""The runs table: a worker's life, written by the worker, read and asked for change by everybody else."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, insert, select, update

from db.models import LIVE_STATES, Run, RunState

STOP, PAUSE, RESUME = "stop", "pause", "resume"  # what can be requested of a run


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process is known by all three: process ids are used again."""

    hostname: str
    pid: int
    created_at: float  # seconds, by a count of its machine's that no change of the clock moves


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A run that has not ended, as far as its row says."""

    id: int
    process: ProcessIdentity
    started_at: datetime
    heartbeat_at: datetime
    state: RunState


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as its row has it; `supervisor` is on the same machine as the worker."""

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
        """Whether its row says that it has ended."""
        return self.state not in LIVE_STATES


class BusyError(Exception):
    """Another worker has this library; `run` is its."""

    def __init__(self, run: LiveRun) -> None:
        super().__init__(f"run {run.id} is alive")
        self.run = run


def live_runs(connection: Connection) -> list[LiveRun]:
    """The runs that have not ended, as far as their rows say; a crashed one may be among them."""
    rows = connection.execute(select(Run.__table__).where(Run.state.in_(LIVE_STATES)).order_by(Run.id))
    return [
        LiveRun(
            id=row.id,
            process=ProcessIdentity(row.hostname, row.pid, row.process_created_at),
            started_at=row.started_at,
            heartbeat_at=row.heartbeat_at,
            state=RunState(row.state),
        )
        for row in rows
    ]


def last_run(connection: Connection) -> RunRow | None:
    """The run that began last, None if there was none."""
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
    """Begin a run, alone in its library; its id, and the runs found dead, whose tasks are to be swept.

    Must be called in a write transaction, which makes "look, then begin" one step. Raises BusyError.
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
    run_id = connection.execute(
        insert(Run)
        .values(
            hostname=process.hostname,
            pid=process.pid,
            process_created_at=process.created_at,
            supervisor={"pid": supervisor.pid, "created_at": supervisor.created_at} if supervisor else None,
            log_path=log_path,
            started_at=now,
            heartbeat_at=now,
            options=options,
            counts={},
        )
        .returning(Run.id)
    ).scalar_one()
    return run_id, dead


def beat(
    connection: Connection,
    run_id: int,
    *,
    counts: dict[str, Any],
    activity: dict[str, Any] | None = None,
    now: datetime,
) -> str | None:
    """Write a heartbeat, the run's counts and what it is doing; what was requested of the run meanwhile."""
    values = {"heartbeat_at": now, "counts": counts, "activity": activity}
    connection.execute(update(Run).where(Run.id == run_id).values(values))
    return requested(connection, run_id)


def requested(connection: Connection, run_id: int) -> str | None:
    """What was requested of a run and is not obeyed yet."""
    return connection.scalar(select(Run.requested).where(Run.id == run_id))


def request(connection: Connection, run_id: int, wish: str) -> None:
    """Ask a run to stop, pause or resume; the last wish counts."""
    connection.execute(update(Run).where(Run.id == run_id).values(requested=wish))


def obeyed(connection: Connection, run_id: int, wish: str) -> None:
    """Note that a run has done what it was asked for, unless it was asked for something else meanwhile."""
    connection.execute(update(Run).where(Run.id == run_id, Run.requested == wish).values(requested=None))


def progress(connection: Connection, run_id: int, *, now: datetime) -> None:
    """Note that something was finished just now."""
    connection.execute(update(Run).where(Run.id == run_id).values(progress_at=now))


def change(
    connection: Connection,
    run_id: int,
    state: RunState,
    *,
    reason: str | None = None,
    activity: dict[str, Any] | None = None,
) -> None:
    """Note a run's state, why it is in it, and what it is doing."""
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
    """End a run. What was requested of one that crashed still holds: its supervisor looks."""
    values = {"state": state, "reason": None, "counts": counts, "activity": None, "heartbeat_at": now, "error": error}
    if state is not RunState.CRASHED:
        values["requested"] = None
    connection.execute(update(Run).where(Run.id == run_id).values(values))


def end_from_outside(connection: Connection, run_id: int, state: RunState, *, error: str) -> bool:
    """End a run whose process is gone without a word; whether its row had not ended yet."""
    dead = update(Run).where(Run.id == run_id, Run.state.in_(LIVE_STATES))
    values = {"state": state, "reason": None, "error": error, "activity": None}
    return cast("CursorResult[Any]", connection.execute(dead.values(values))).rowcount == 1


def explain(connection: Connection, run_id: int, error: str) -> None:
    """Note what a run ended with."""
    connection.execute(update(Run).where(Run.id == run_id).values(error=error))


def _run(row: Any) -> RunRow:
    supervisor = row.supervisor
    return RunRow(
        id=row.id,
        process=ProcessIdentity(row.hostname, row.pid, row.process_created_at),
        supervisor=ProcessIdentity(row.hostname, supervisor["pid"], supervisor["created_at"]) if supervisor else None,
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
