"""quick --batch: half the price, answers in any order, what expires is asked about again, and nothing twice."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import PATIENCE_SECONDS, Terminal, ask, running, until
from tests.quick.conftest import PICTURES
from tests.quick.test_killed import ANSWERED, BATCH, BATCHES, PAID, assert_paid_once, is_on_its_way
from tests.standin_claude import ClaudeStandIn

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]


def leave_under_way(home: Path, *command: str | Path) -> str:
    """Send a batch and interrupt the waiting for it; what was said."""
    with running(*(command or BATCH)) as process:
        until(lambda: is_on_its_way(home), "it is on its way", process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert err == ""
    assert process.returncode == 130
    return out


def end(said: Terminal) -> dict[str, object]:
    """The last of the lines of JSON."""
    last: dict[str, object] = json.loads(said.out.splitlines()[-1])
    return last


def test_it_is_offered_for_half_sent_once_and_paid_for_half(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    claude.behave(batch_seconds=0.2)
    at_once = cli("quick", "1", "--estimate", "--json").json
    later = cli("quick", "1", "--estimate", "--batch", "--json").json
    assert later["usd"] == pytest.approx(at_once["usd"] / 2)
    assert "as a batch that takes up to a day" in later["text"]
    assert claude.sent == []
    said = cli("quick", "1", "--batch", "--yes")
    assert said.code == 0, said
    assert f"{PICTURES} pictures answered, $0.00" in said.out
    assert all(bill.batch for bill in claude.bills)
    assert_paid_once(home, claude)
    again = cli("quick", "1", "--batch", "--yes")
    assert again.code == 0
    assert f"{PICTURES} pictures answered before; --again asks anew.\nNothing is left to ask." in again.out
    assert len(claude.batches) == 1


def test_without_a_yes_no_batch_is_sent(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    said = cli("quick", "1", "--batch")
    assert said.code == 1
    assert "as a batch" in said.err
    assert "Pass --yes" in said.err
    assert claude.sent == []
    assert ask(home, BATCHES) == []


def test_waiting_may_be_left_and_taken_up_by_anybody(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    out = leave_under_way(home)
    assert "The batch is not finished. Collect it later with" in out
    claude.finish()
    said = cli("quick", "--collect", "--json")
    assert said.code == 0, said
    assert end(said)["answered"] == PICTURES
    assert end(said)["usd"] == pytest.approx(claude.usd, rel=1e-9)
    assert_paid_once(home, claude)
    assert cli("quick", "--collect").out == "No batch is pending.\n"


def test_what_is_on_the_way_is_not_asked_about_at_once_either(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    leave_under_way(home)
    said = cli("quick", "1", "--estimate", "--json").json
    assert (said["pictures"], said["videos"][0]["on_the_way"]) == (0, PICTURES)
    claude.finish()
    assert cli("quick", "1", "--batch", "--yes").code == 0
    assert_paid_once(home, claude)


def test_what_is_on_the_way_counts_in_the_months_budget(
    home: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ("--model", "claude-haiku-4-5")
    usd, more = (cli("quick", "1", "--estimate", "--batch", *how, "--json").json["usd"] for how in ((), other))
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", str(more + usd / 2))  # for either, not for both
    leave_under_way(home)
    cli("quick", "1", "--batch", *other, "--yes").refused("this month's budget", "is on its way")
    assert len(claude.batches) == 1


@pytest.mark.parametrize(("fate", "words"), [("expire", "within a day"), ("error", "fault of its own")])
def test_what_claude_did_not_get_to_has_its_reason_costs_nothing_and_is_asked_about_again(
    home: Path, claude: ClaudeStandIn, cli: Cli, fate: str, words: str
) -> None:
    leave_under_way(home)
    [batch] = claude.batches.values()
    claude.finish(**{fate: [batch.requests[1][0]]})
    said = cli("quick", "--collect")
    assert said.code == 1
    assert "10 pictures without an answer" in said.err
    assert words in said.err
    assert ask(home, ANSWERED) == [(20,)]
    assert ask(home, PAID)[0][2] == pytest.approx(claude.usd, rel=1e-9)
    claude.behave(batch_seconds=0.2)
    assert cli("quick", "1", "--batch", "--yes").code == 0
    assert_paid_once(home, claude)


def test_a_film_that_is_removed_takes_its_batch_with_it(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    leave_under_way(home)
    assert cli("remove", "1", "--yes").code == 0
    claude.finish()
    assert cli("quick", "--collect").out == "No batch is pending.\n"


def test_only_claude_takes_batches(home: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    said = cli("quick", "1", "--batch", "--describer", "baseline")
    assert said.code == 2
    assert "batches are available with Claude only" in said.err
