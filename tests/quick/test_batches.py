"""quick --batch: half the price, expired requests can be sent again, nothing is paid twice."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal, ask, running
from tests.quick.conftest import FRAMES
from tests.quick.test_killed import ANSWERED, BATCH, BATCHES, PAID, assert_paid_once, has_batch_id
from tests.standin_claude import ClaudeStandIn
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]
OWED = "SELECT count(*) FROM reservations"


def interrupt_pending_batch(home: Path, *command: str | Path) -> str:
    """Send a batch, interrupt the wait for it, and return the output."""
    with running(*(command or BATCH)) as process:
        wait_until(lambda: has_batch_id(home), "the batch is sent", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert err == ""
    assert process.returncode == 130
    return out


def end(done: Terminal) -> dict[str, object]:
    """The last JSON line."""
    last: dict[str, object] = json.loads(done.out.splitlines()[-1])
    return last


def test_batch_costs_half_and_is_sent_once(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    claude.behave(batch_seconds=0.2)
    at_once = cli("quick", "1", "--estimate", "--json").json
    later = cli("quick", "1", "--estimate", "--batch", "--json").json
    assert later["usd"] == pytest.approx(at_once["usd"] / 2)
    assert "as a batch that takes up to a day" in later["text"]
    assert claude.sent == []
    done = cli("quick", "1", "--batch", "--yes")
    assert done.code == 0, done
    assert f"{FRAMES} images described, $0.00" in done.out
    assert all(bill.batch for bill in claude.bills)
    assert_paid_once(home, claude)
    again = cli("quick", "1", "--batch", "--yes")
    assert again.code == 0
    assert (
        f"{FRAMES} images already described. Describe again with --again.\nEverything is already described."
        in again.out
    )
    assert len(claude.batches) == 1


def test_without_yes_no_batch_is_sent(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    done = cli("quick", "1", "--batch")
    assert done.code == 1
    assert "as a batch" in done.err
    assert "Pass --yes" in done.err
    assert claude.sent == []
    assert ask(home, BATCHES) == []


def test_interrupted_wait_is_resumed_by_collect(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    out = interrupt_pending_batch(home)
    assert "The batch is not finished. Collect it later with" in out
    claude.finish()
    done = cli("quick", "--collect", "--json")
    assert done.code == 0, done
    assert end(done)["answered"] == FRAMES
    assert end(done)["usd"] == pytest.approx(claude.usd, rel=1e-9)
    assert_paid_once(home, claude)
    assert cli("quick", "--collect").out == "No batch is pending.\n"


def test_frames_in_a_pending_batch_are_not_sent_again(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    interrupt_pending_batch(home)
    done = cli("quick", "1", "--estimate", "--json").json
    assert (done["pictures"], done["videos"][0]["on_the_way"]) == (0, FRAMES)
    claude.finish()
    assert cli("quick", "1", "--batch", "--yes").code == 0
    assert_paid_once(home, claude)


def test_pending_batches_count_in_the_budget(
    home: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("--model", "claude-haiku-4-5")
    usd, more = (cli("quick", "1", "--estimate", "--batch", *how, "--json").json["most_usd"] for how in ((), other))
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", str(more + usd / 2))  # enough for one of them only
    interrupt_pending_batch(home)
    cli("quick", "1", "--batch", *other, "--yes").refused("this month's budget", "is reserved for requests under way")
    assert len(claude.batches) == 1


@pytest.mark.parametrize(("fate", "words"), [("expire", "within a day"), ("error", "internal error")])
def test_expired_requests_are_free_and_can_be_sent_again(
    home: Path, claude: ClaudeStandIn, cli: Cli, fate: str, words: str
) -> None:
    interrupt_pending_batch(home)
    [batch] = claude.batches.values()
    claude.finish(**{fate: [batch.requests[1][0]]})
    done = cli("quick", "--collect")
    assert done.code == 1
    assert "10 images not described" in done.err
    assert words in done.err
    assert ask(home, ANSWERED) == [(20,)]
    assert ask(home, PAID)[0][2] == pytest.approx(claude.usd, rel=1e-9)
    claude.behave(batch_seconds=0.2)
    assert cli("quick", "1", "--batch", "--yes").code == 0
    assert_paid_once(home, claude)


def test_removed_video_cancels_its_batch_at_no_cost(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    interrupt_pending_batch(home)
    cli("remove", "1").refused("requests to Claude under way for up to $0.0")
    assert cli("remove", "1", "--yes").code == 0
    [batch] = claude.batches.values()
    assert batch.cancel_at is not None
    assert ask(home, OWED) == [(0,)]
    assert ask(home, PAID) == [(0, 0, None)]
    assert cli("quick", "--collect").out == "No batch is pending.\n"


def test_removed_video_keeps_the_cost_of_its_ended_batch(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    interrupt_pending_batch(home)
    claude.finish()
    assert cli("remove", "1", "--yes").code == 0
    assert ask(home, OWED) == [(0,)]
    assert ask(home, PAID)[0][2] == pytest.approx(claude.usd, rel=1e-9)
    month = cli("costs", "--json").json["month"]
    assert (month["spent_usd"], month["promised_usd"]) == (pytest.approx(claude.usd, rel=1e-9), 0.0)


def test_batch_of_a_removed_video_is_collected_when_claude_is_back(
    home: Path, video: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    interrupt_pending_batch(home)
    claude.stop()
    said = cli("remove", "1", "--yes")
    assert said.code == 0
    assert "a batch is not cancelled yet: Claude cannot be reached" in said.err
    assert ask(home, OWED) == [(FRAMES,)]
    assert cli("add", video, "--sampling", "exact").code == 0  # its frames have the ids of the removed ones
    assert cli("extract").code == 0
    claude.start()
    claude.finish()
    assert cli("quick", "--collect").code == 0
    assert ask(home, OWED) == [(0,)]
    assert ask(home, ANSWERED) == [(0,)]  # no answer is saved to another video's frame
    assert ask(home, PAID)[0][2] == pytest.approx(claude.usd, rel=1e-9)


def test_lost_reply_to_a_batch_is_looked_up_and_not_sent_again(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    claude.play("die paid", path="/v1/messages/batches", times=1)
    assert cli("quick", "1", "--batch", "--yes").code == 1
    assert ask(home, OWED) == [(FRAMES,)]
    assert cli("quick", "1", "--estimate", "--json").json["pictures"] == 0
    claude.finish()
    assert cli("quick", "--collect").code == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_only_claude_accepts_batches(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    done = cli("quick", "1", "--batch", "--describer", "baseline")
    assert done.code == 2
    assert "batches are available with Claude only" in done.err
