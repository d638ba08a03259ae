"""Holding a claimed task while it is worked on outside a worker: a thread pushes its lease on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from db import queue
from db.engine import writing

RENEW_SECONDS = queue.LEASE_SECONDS / 3


@contextmanager
def held(engine: Engine, job: queue.Job) -> Iterator[None]:
    """Keep the lease of a task from running out; whoever works on it finds out if it is lost when saving."""
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(RENEW_SECONDS):
            try:
                with writing(engine) as connection:
                    queue.renew(connection, [job], now=datetime.now(UTC))
            except OperationalError:  # locked for long: the next time may pass
                continue

    thread = threading.Thread(target=renew, name="everyframe-hold", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
