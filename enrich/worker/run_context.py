"""What the parts of one run share: the library, the run's row, and the threads that serve all of them."""

from collections.abc import Callable
from dataclasses import dataclass

from enrich.library.library import Library
from enrich.worker.activity import Activity
from enrich.worker.database_thread import DatabaseThread
from enrich.worker.leases import LeaseRenewal
from enrich.worker.run_options import RunCounts


@dataclass(frozen=True, slots=True)
class RunContext:
    """Made once per run; outlives its pipelines."""

    library: Library
    run_id: int
    pass_: str  # the one this run describes
    database: DatabaseThread
    leases: LeaseRenewal
    counts: RunCounts
    activity: Activity
    wake: Callable[[], None]  # a host changed its state, or the run may be finished; called on the event loop
