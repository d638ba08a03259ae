"""Eight processes send the same key frames under one budget: it is never passed, and nothing is paid for twice.

Claude answers late, hangs, refuses, drops connections after it has charged, and senders are killed with -9 in the
middle of their requests. What was reserved and spent is measured inside each transaction that reserves, by triggers of
the test. The tests print these figures.
"""

import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from db.engine import make_engine, writing
from db.migrate import open_library
from db.store import save_frames
from enrich.costs import record_abandoned_requests
from tests.cli.terminal import ask, change, running
from tests.db.library import NOW, add, claim_extraction, new_frame
from tests.quick.senders import KEY_FRAMES
from tests.standin_claude import KEY, ClaudeStandIn
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the senders are forked")

SENDERS = 8
TOTAL = "(SELECT coalesce(sum(cost_usd), 0) FROM analyses) + (SELECT coalesce(sum(usd), 0) FROM reservations)"
MEASURE = f"BEGIN INSERT INTO measured SELECT {TOTAL}; END"
# Money is only ever added where it is reserved: what is recorded later was reserved before.
MEASURES = (
    "CREATE TABLE measured (usd REAL)",
    f"CREATE TRIGGER measured_new AFTER INSERT ON reservations {MEASURE}",
    f"CREATE TRIGGER measured_again AFTER UPDATE OF usd ON reservations WHEN new.usd > old.usd {MEASURE}",
)
SPENT = "SELECT coalesce(sum(cost_usd), 0) FROM analyses"
RESERVED = "SELECT count(*), coalesce(sum(usd), 0) FROM reservations"
LOSSES = (None, None, None, "hang", "die", "die paid", "overloaded", "rate limit", "fault")
BAD_REPLIES = ("missing", "refusal", "cut off", "not json")  # each is retried once, alone, which the user agreed to


@dataclass(frozen=True)
class Race:
    """A library, its budget, and what the test measures."""

    home: Path
    claude: ClaudeStandIn

    def figures(self, limit: float) -> str:
        """What was reserved and spent, against the limit."""
        [(most,)] = ask(self.home, "SELECT max(usd) FROM measured")
        [(spent,)] = ask(self.home, SPENT)
        return (
            f"limit ${limit:.4f}: most reserved and spent at once ${most:.4f}, recorded ${spent:.4f}, "
            f"billed ${self.claude.usd:.4f} for {len(self.claude.bills)} replies"
        )

    def run(self, seed: int, *, kills: int) -> None:
        """Let the senders run to their end, and kill some of them while their requests are in flight."""
        rng = random.Random(seed)
        command = (sys.executable, "-m", "tests.quick.senders", str(SENDERS), str(seed))
        with running(*command, stdin=-1) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            begun = len(self.claude.sent)
            process.stdin.write("\n")
            process.stdin.flush()
            children = [int(word) for word in process.stdout.readline().split()]
            victims = rng.sample(children, kills)
            for victim in victims:
                wait_until(lambda: len(self.claude.sent) > begun, "they send", process)
                os.kill(victim, signal.SIGKILL)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        assert "Traceback" not in err, err  # on a busy machine the database may be locked for a while
        assert set(out.split()) <= {"0", "-9"}, out

    def assert_within(self, limit: float) -> None:
        """The budget held at every moment, the books cover the bill, and no image was paid for twice."""
        engine = make_engine(f"sqlite:///{self.home / 'library.db'}")
        record_abandoned_requests(engine)  # as the next command does
        engine.dispose()
        [(most,)] = ask(self.home, "SELECT max(usd) FROM measured")
        [(spent,)] = ask(self.home, SPENT)
        assert ask(self.home, RESERVED) == [(0, 0)]
        assert most <= limit + 1e-9
        assert self.claude.usd <= spent + 1e-9
        assert spent <= most + 1e-9

    def bills_by_image(self) -> Counter[tuple[str, str]]:
        """How often each model was paid for each image."""
        return Counter((bill.model, label) for bill in self.claude.bills for label in bill.labels)


@pytest.fixture
def race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Race]:
    """A library with one video of 24 key frames."""
    home = tmp_path / "home"
    home.mkdir()
    engine = open_library(f"sqlite:///{home / 'library.db'}")
    rng = random.Random(1)
    with writing(engine) as connection:
        video_id = add(connection)
        frames = [new_frame(number, dhash=f"{rng.getrandbits(64):016x}") for number in range(KEY_FRAMES)]
        save_frames(connection, claim_extraction(connection, video_id), frames, passes=(), now=NOW)
    engine.dispose()
    for statement in MEASURES:
        change(home, statement)
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    with ClaudeStandIn() as claude:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield Race(home, claude)


def disturb(claude: ClaudeStandIn, seed: int, tricks: Sequence[str | None]) -> None:
    """Answer late, and play a random trick for each image, once."""
    rng = random.Random(seed)
    claude.behave(delay=rng.uniform(0.0, 0.08))
    for number in range(1, KEY_FRAMES + 1):
        if trick := rng.choice(tricks):
            claude.play(trick, labels=[f"F{number}"], times=1, retry_after=f"{rng.uniform(0.01, 0.1):.2f}")


def test_budget_holds_under_eight_senders_losses_and_kills(
    race: Race, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = 0.04
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", str(limit))
    disturb(race.claude, 1, LOSSES)
    race.run(1, kills=2)
    race.assert_within(limit)
    assert max(race.bills_by_image().values()) == 1
    assert ask(race.home, "SELECT max(usd) FROM measured")[0][0] > limit / 2  # it was in the way
    with capsys.disabled():
        sys.stdout.write(f"\n{race.figures(limit)}\n")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_budget_holds_through_many_races(
    race: Race, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    limit = random.Random(seed).choice([0.0, 0.004, 0.02, 0.06, 0.2])
    monkeypatch.setenv("EVERYFRAME_MONTHLY_BUDGET_USD", str(limit))
    for round_ in range(2):  # the second finds what the first left
        disturb(race.claude, 2 * seed + round_, LOSSES if seed % 2 else (*LOSSES, *BAD_REPLIES))
        race.run(2 * seed + round_, kills=3 if limit and not round_ else 0)
        race.claude.calm()
        if limit:
            race.assert_within(limit)
    if not limit:
        assert race.claude.sent == []
    elif seed % 2:
        assert max(race.bills_by_image().values(), default=0) <= 1  # a low limit may let nothing through
    else:
        assert max(race.bills_by_image().values(), default=0) <= 2
    with capsys.disabled():
        sys.stdout.write(f"\nseed {seed}: {race.figures(limit) if limit else 'nothing sent'}\n")
