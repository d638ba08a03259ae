"""Whoever sends, waits or saves is killed with -9, at any step: paid once, and every picture answered once."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND, Terminal, ask, change, running, until
from tests.quick.conftest import PICTURES
from tests.standin_claude import ClaudeStandIn

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]

NOW = (COMMAND, "quick", "1", "--yes")
BATCH = (*NOW, "--batch")
ANSWERED = "SELECT count(*) FROM frames WHERE event_type IS NOT NULL"
BATCHES = "SELECT status, json_extract(payload, '$.batch_id') FROM tasks WHERE kind = 'batch'"
PAID = "SELECT count(*), count(DISTINCT frame_id), sum(cost_usd) FROM analyses WHERE cost_usd > 0"
# Each answer takes as long to be saved as it takes to compare all frames with each other.
SLOW = """
CREATE TRIGGER slow_disk AFTER INSERT ON analyses BEGIN
    SELECT count(*) FROM frames a, frames b, frames c, frames d WHERE a.id + b.id + c.id + d.id < 0;
END
"""


@contextmanager
def held_up(claude: ClaudeStandIn, *, is_taken: bool) -> Iterator[threading.Event]:
    """Have batches hang on their way, before or after they are taken; the event is set once one hangs."""
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
    """A batch may be looked after again, and whoever had it has lost it."""
    change(home, "UPDATE tasks SET not_before = NULL WHERE kind = 'batch'")
    change(
        home, "UPDATE tasks SET lease_until = '2000-01-01 00:00:00.000000' WHERE kind = 'batch' AND status = 'doing'"
    )


def kill_while_it_sends(home: Path, claude: ClaudeStandIn, *, is_taken: bool) -> None:
    """Kill who sends a batch before it knows the id; long ago, for whoever comes next."""
    with held_up(claude, is_taken=is_taken) as hangs, running(*BATCH) as process:
        until(hangs.is_set, "the batch is on its way", process)
        process.kill()
    assert ask(home, BATCHES) == [("todo", None)]
    let_time_pass(home)


def is_on_its_way(home: Path) -> bool:
    """Whether a batch's id is known."""
    return any(batch_id for _, batch_id in ask(home, BATCHES))


def assert_paid_once(home: Path, claude: ClaudeStandIn) -> None:
    """Every picture has one answer that was paid for, and nothing else was."""
    assert ask(home, ANSWERED) == [(PICTURES,)]
    labels = [label for bill in claude.bills for label in bill.labels]
    assert len(labels) == len(set(labels)) == PICTURES
    [(calls, frames, usd)] = ask(home, PAID)
    assert (calls, frames) == (PICTURES, PICTURES)
    assert usd == pytest.approx(claude.usd, rel=1e-9)


def test_before_the_batch_arrived_it_is_forgotten_and_whoever_asks_again_sends_it(
    home: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    kill_while_it_sends(home, claude, is_taken=False)
    said = cli("quick", "--collect")
    assert said.code == 1
    assert "a batch was never sent: ask again" in said.err
    assert ask(home, BATCHES) == []
    claude.behave(batch_seconds=0.2)
    assert cli(*BATCH[1:]).code == 0
    assert_paid_once(home, claude)


def test_before_the_batchs_id_was_noted_it_is_found_and_not_sent_again(
    home: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    kill_while_it_sends(home, claude, is_taken=True)
    claude.finish()
    said = cli(*BATCH[1:])
    assert said.code == 0, said
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_while_claude_works_the_answers_are_fetched_by_whoever_comes_next(
    home: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    for _ in range(2):  # the sender, and one that only waits
        with running(*BATCH) as process:
            until(lambda: is_on_its_way(home), "it is on its way", process)
            until(lambda: ask(home, "SELECT 1 FROM tasks WHERE kind = 'batch' AND error IS NOT NULL"), "asked", process)
            process.kill()
        change(home, "UPDATE tasks SET error = NULL WHERE kind = 'batch'")
        let_time_pass(home)
    claude.finish()
    assert cli("quick", "--collect").code == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


@pytest.mark.parametrize("saved", [0, 1, 11], ids=["in the first part", "in the second part", "in the last part"])
def test_while_answers_are_saved_each_is_saved_once(home: Path, claude: ClaudeStandIn, cli: Cli, saved: int) -> None:
    claude.behave(batch_seconds=0.5)
    change(home, SLOW)
    with running(*BATCH) as process:
        until(lambda: ask(home, ANSWERED)[0][0] >= saved and claude.bills, "answers are saved", process)
        process.kill()
    assert ask(home, ANSWERED)[0][0] < PICTURES  # it was in the middle of it
    change(home, "DROP TRIGGER slow_disk")
    let_time_pass(home)
    assert cli("quick", "--collect").code == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_looking_at_once_loses_the_requests_in_flight_and_nothing_that_was_saved(
    home: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    claude.play("hang", labels=[f"F{PICTURES}"])
    with running(*NOW) as process:
        until(lambda: ask(home, ANSWERED)[0][0] == 20, "two of three are answered", process)
        process.kill()
    claude.calm()
    assert cli(*NOW[1:]).code == 0
    assert [len(bill.labels) for bill in claude.bills] == [10, 10, 10]
    assert_paid_once(home, claude)
