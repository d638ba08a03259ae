"""Leases are renewed while their tasks are held; a worker returns what it holds no more, and what others abandoned."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from db import queue, runs
from db.engine import writing
from db.errors import DatabaseLockedError
from db.models import TaskKind
from enrich.process import is_alive, this_process
from enrich.worker import leases as leases_module
from enrich.worker.leases import LeaseRenewal
from tests.waiting import wait_until
from tests.worker.workspace import Workspace

LEASE = "SELECT lease_until FROM tasks"


@pytest.fixture(autouse=True)
def frequent_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases_module, "RENEW_SECONDS", 0.02)


@pytest.fixture
def task(workspace: Workspace, clip: Callable[..., Path]) -> queue.ClaimedTask:
    """A task claimed an hour ago: its lease has expired."""
    workspace.add(clip())
    ago = datetime.now(UTC) - timedelta(hours=1)
    with writing(workspace.library.engine) as connection:
        run_id, _ = runs.begin(connection, this_process(), options={}, is_alive=is_alive, now=ago)
        [task] = queue.claim(
            connection, queue.TaskFilter(TaskKind.EXTRACT), run_id=run_id, host="here", limit=1, now=ago
        )
    return task


def is_fresh(moment: str) -> bool:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC) > datetime.now(UTC) - timedelta(seconds=60)


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> list[list[queue.ClaimedTask]]:
    """The tasks of each renewal, oldest first."""
    renewals: list[list[queue.ClaimedTask]] = []
    renew = queue.renew

    def recorded(connection: Connection, tasks: list[queue.ClaimedTask], *, now: datetime) -> int:
        renewed = renew(connection, tasks, now=now)
        renewals.append(tasks)
        return renewed

    monkeypatch.setattr(leases_module.queue, "renew", recorded)
    return renewals


def test_leases_of_held_tasks_are_renewed_until_dropped(
    workspace: Workspace, task: queue.ClaimedTask, renewals: list[list[queue.ClaimedTask]]
) -> None:
    leases = LeaseRenewal(workspace.library.engine, run_id=1)  # as a run it continues without a task
    leases.hold(task)
    with leases:
        wait_until(lambda: is_fresh(workspace.value(LEASE)), "the lease is renewed")
        leases.drop(task)
        wait_until(lambda: renewals[-1] == [], "nothing is renewed any more")


def test_a_task_given_at_the_start_is_held(workspace: Workspace, task: queue.ClaimedTask) -> None:
    with LeaseRenewal(workspace.library.engine, [task]):
        wait_until(lambda: is_fresh(workspace.value(LEASE)), "the lease is renewed")


def test_a_lost_lease_is_not_renewed(
    workspace: Workspace, task: queue.ClaimedTask, renewals: list[list[queue.ClaimedTask]]
) -> None:
    workspace.change("UPDATE tasks SET lease_token = 'another', lease_until = '2100-01-01 00:00:00.000000'")
    before = workspace.value(LEASE)
    with LeaseRenewal(workspace.library.engine, [task]):
        wait_until(lambda: len(renewals) >= 2, "leases are renewed twice")
    assert workspace.value(LEASE) == before


def test_own_expired_claims_that_nobody_holds_return(workspace: Workspace, task: queue.ClaimedTask) -> None:
    """A claim that was cancelled half-way."""
    with LeaseRenewal(workspace.library.engine, run_id=1):
        status = "SELECT status FROM tasks WHERE id = :id"
        wait_until(lambda: workspace.value(status, id=task.id) == "todo", "the lease is swept")


def test_own_expired_leases_are_renewed_before_sweeping(
    workspace: Workspace, task: queue.ClaimedTask, renewals: list[list[queue.ClaimedTask]]
) -> None:
    with LeaseRenewal(workspace.library.engine, [task], run_id=1):
        wait_until(lambda: len(renewals) >= 2, "leases are renewed twice")
    assert workspace.value("SELECT status FROM tasks WHERE id = :id", id=task.id) == "doing"
    assert is_fresh(workspace.value(LEASE))


def test_failed_renewal_is_soon_retried(
    workspace: Workspace, task: queue.ClaimedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases_module, "RETRY_SECONDS", 0.02)
    renew, tries = queue.renew, []

    def locked_at_first(*arguments: object, **named: object) -> int:
        tries.append(1)
        monkeypatch.setattr(leases_module, "RENEW_SECONDS", 3600)  # too late: the lease would have expired
        if len(tries) < 3:
            raise DatabaseLockedError("database is locked")
        return renew(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(leases_module.queue, "renew", locked_at_first)
    with LeaseRenewal(workspace.library.engine, [task]):
        wait_until(lambda: is_fresh(workspace.value(LEASE)), "the lease is renewed")
    assert len(tries) >= 3


def test_lost_lease_of_a_dead_thread_has_its_cause(
    workspace: Workspace, task: queue.ClaimedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise IndexError("unforeseen")

    monkeypatch.setattr(leases_module.queue, "renew", fail)
    leases = LeaseRenewal(workspace.library.engine, [task])

    def work() -> None:
        with leases:
            wait_until(lambda: not leases._thread.is_alive(), "the thread has ended")
            raise queue.LeaseLostError("the lease was lost")

    with pytest.raises(IndexError, match="unforeseen"):
        work()
