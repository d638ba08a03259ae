"""Sender, waiter and collector are killed with -9 at any step: paid once, each frame answered once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND, Terminal, ask, change, running
from tests.quick.conftest import FRAMES
from tests.standin_claude import ClaudeStandIn
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]

NOW = (COMMAND, "quick", "1", "--yes")
BATCH = (*NOW, "--batch")
ANSWERED = "SELECT count(*) FROM frames WHERE event_type IS NOT NULL"
BATCHES = "SELECT status, json_extract(payload, '$.batch_id') FROM tasks WHERE kind = 'batch'"
PAID = "SELECT count(*), count(DISTINCT frame_id), sum(cost_usd) FROM analyses WHERE cost_usd > 0"
UNCERTAIN = "SELECT count(*), sum(cost_usd) FROM analyses WHERE warnings LIKE '%uncertain_cost%'"
# Slows saving an answer down by a query over all combinations of frames.
SLOW = """
CREATE TRIGGER slow_disk AFTER INSERT ON analyses BEGIN
    SELECT count(*) FROM frames a, frames b, frames c, frames d WHERE a.id + b.id + c.id + d.id < 0;
END
"""


@contextmanager
def held_up(claude: ClaudeStandIn, *, is_taken: bool) -> Iterator[threading.Event]:
    """Make batches hang before or after they are accepted; the event is set once one hangs."""
    hangs, is_over, take = threading.Event(), threading.Event(), claude.take_batch

    def slow(body: dict[str, object]) -> object:
        batch = take(body) if is_taken else None
        hangs.set()
        is_over.wait(30)
        if batch is None:
            raise ConnectionAbortedError
        return batch

    claude.take_batch = slow  # type: ignore[method-assign, assignment]
    try:
        yield hangs
    finally:
        is_over.set()
        del claude.take_batch


def let_time_pass(home: Path) -> None:
    """Make the batch due again and let its lease expire."""
    change(home, "UPDATE tasks SET not_before = NULL WHERE kind = 'batch'")
    change(
        home, "UPDATE tasks SET lease_until = '2000-01-01 00:00:00.000000' WHERE kind = 'batch' AND status = 'doing'"
    )


def kill_while_it_sends(home: Path, claude: ClaudeStandIn, *, is_taken: bool) -> None:
    """Kill the sender of a batch before it knows the id, and let its lease expire."""
    with held_up(claude, is_taken=is_taken) as hangs, running(*BATCH) as process:
        wait_until(hangs.is_set, "the batch is being sent", process)
        process.kill()
    assert ask(home, BATCHES) == [("todo", None)]
    let_time_pass(home)


def has_batch_id(home: Path) -> bool:
    """Whether a batch's id is saved."""
    return any(batch_id for _, batch_id in ask(home, BATCHES))


def assert_paid_once(home: Path, claude: ClaudeStandIn) -> None:
    """Every frame has one paid answer, and nothing else was paid."""
    assert ask(home, ANSWERED) == [(FRAMES,)]
    labels = [label for bill in claude.bills for label in bill.labels]
    assert len(labels) == len(set(labels)) == FRAMES
    [(calls, frames, usd)] = ask(home, PAID)
    assert (calls, frames) == (FRAMES, FRAMES)
    assert usd == pytest.approx(claude.usd, rel=1e-9)


def test_sender_killed_before_arrival_is_forgotten_and_resent(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    kill_while_it_sends(home, claude, is_taken=False)
    done = cli("quick", "--collect")
    assert done.code == 1
    assert "batch was never sent. Run the command again" in done.err
    assert ask(home, BATCHES) == []
    claude.behave(batch_seconds=0.2)
    assert cli(*BATCH[1:]).code == 0
    assert_paid_once(home, claude)


def test_sender_killed_before_saving_the_id_is_not_resent(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    kill_while_it_sends(home, claude, is_taken=True)
    claude.finish()
    done = cli(*BATCH[1:])
    assert done.code == 0, done
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_killed_waiter_is_replaced_by_the_next_command(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    for _ in range(2):  # the sender, and a command that only waits
        with running(*BATCH) as process:
            wait_until(lambda: has_batch_id(home), "the batch is sent", process)
            wait_until(
                lambda: ask(home, "SELECT 1 FROM tasks WHERE kind = 'batch' AND error IS NOT NULL"), "asked", process
            )
            process.kill()
        change(home, "UPDATE tasks SET error = NULL WHERE kind = 'batch'")
        let_time_pass(home)
    claude.finish()
    assert cli("quick", "--collect").code == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


@pytest.mark.parametrize("saved", [0, 1, 11], ids=["in the first part", "in the second part", "in the last part"])
def test_collector_killed_while_saving_saves_each_answer_once(
    home: Path, claude: ClaudeStandIn, cli: Cli, saved: int
) -> None:
    claude.behave(batch_seconds=0.5)
    change(home, SLOW)
    with running(*BATCH) as process:
        wait_until(lambda: ask(home, ANSWERED)[0][0] >= saved and claude.bills, "answers are saved", process)
        process.kill()
    assert ask(home, ANSWERED)[0][0] < FRAMES  # it was killed while saving
    change(home, "DROP TRIGGER slow_disk")
    let_time_pass(home)
    assert cli("quick", "--collect").code == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_killed_quick_pass_loses_only_requests_in_flight(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    claude.play("hang", labels=[f"F{FRAMES}"])
    with running(*NOW) as process:
        wait_until(lambda: ask(home, ANSWERED)[0][0] == 20, "two of three are answered", process)
        process.kill()
    claude.calm()
    said = cli(*NOW[1:])
    assert said.code == 0
    assert (
        "10 images may have been paid for without an answer arriving. Sending them again may cost up to $" in said.out
    )
    assert len(claude.bills) == 2  # nothing was sent again without the user's consent
    [(lost, usd)] = ask(home, UNCERTAIN)
    assert lost == 10
    assert usd > claude.usd / 2  # the highest price of one request
    assert cli(*NOW[1:], "--unanswered").code == 0
    assert [len(bill.labels) for bill in claude.bills] == [10, 10, 10]
    assert ask(home, ANSWERED) == [(FRAMES,)]
    assert ask(home, "SELECT count(*) FROM reservations") == [(0,)]
    [(_, _, spent)] = ask(home, PAID)
    assert spent == pytest.approx(claude.usd + usd, rel=1e-9)
