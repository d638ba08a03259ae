"""The sweep: returns the tasks of dead processes to the queue. The only place that judges whose claims are abandoned.

A lease that expired does not prove that its holder is dead: a machine that slept wakes up with every lease expired. So
the holder of a claim is looked up first. On this machine its process decides, on another one the heartbeat of its run;
the lease decides only for commands without a run on another machine, and for commands that were suspended.
"""

from datetime import datetime

from sqlalchemy import Connection

from db import queue, runs
from db.runs import ProcessIdentity
from enrich.process import is_alive, is_local, is_process_alive, is_suspended


def sweep_abandoned(connection: Connection, *, now: datetime, own_run: int | None = None) -> int:
    """Return the tasks of abandoned claims to the queue. Returns how many. Call it in a write transaction.

    `own_run`: the run that sweeps and has just renewed its leases. Those of its leases that have expired are of claims
    that were cancelled half-way, and nobody holds them.
    """
    live = {run.id: run for run in runs.live_runs(connection)}

    def is_held(claim: queue.Claim) -> bool | None:
        if claim.run_id is None:
            return _is_command_alive(claim.host)
        if claim.run_id == own_run:
            return None
        run = live.get(claim.run_id)
        return run is not None and is_alive(run)

    return queue.sweep(connection, now=now, is_alive=is_held)


def _is_command_alive(host: str | None) -> bool | None:
    """Whether the process of a command is alive; None if that is unknown, or if it may never continue."""
    process = ProcessIdentity.parse(host) if host is not None else None
    if process is None or not is_local(process) or is_suspended(process):
        return None
    return is_process_alive(process)
