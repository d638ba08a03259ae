"""A batch whose sender or collector is killed with -9 at any step: paid once, and every picture answered once."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrich.quick import collecting
from tests.cli.conftest import quiet_environment
from tests.cli.terminal import COMMAND, ask, change, run_here, running, until
from tests.clips import numbered_clip
from tests.standin_claude import KEY, ClaudeStandIn

pytestmark = pytest.mark.slow

FRAMES = 30
SEND = (str(COMMAND), "quick", "1", "--batch", "--yes")
ANSWERED = "SELECT count(*) FROM frames WHERE event_type IS NOT NULL"
WANTED = "SELECT count(*) FROM frames WHERE is_keyframe"
BATCH = "SELECT status, json_extract(payload, '$.batch_id') FROM tasks WHERE kind = 'batch'"


@pytest.fixture
def claude(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClaudeStandIn]:
    with ClaudeStandIn() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.address)
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        yield server


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of one film whose frames are kept and not described; to be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    numbered_clip(folder / "film.mp4", frames=FRAMES)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quiet_environment(folder / "home", OLLAMA_HOST="http://127.0.0.1:9").items():
            patch.setenv(name, value)
        from enrich.cli import run

        assert run(["add", str(folder / "film.mp4"), "--sampling", "exact"]) == 0
        assert run(["extract"]) == 0
    return folder / "home"


@pytest.fixture
def home(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of the test's own."""
    shutil.copytree(prepared, tmp_path / "home")
    for name, value in quiet_environment(tmp_path / "home", OLLAMA_HOST="http://127.0.0.1:9").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EVERYFRAME_KEY_FRAMES", str(FRAMES))
    monkeypatch.setattr(collecting, "SOON_SECONDS", 0.1)
    monkeypatch.setattr(collecting, "SETTLE_SECONDS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def collect(capsys: pytest.CaptureFixture[str], home: Path) -> Callable[[], int]:
    """Go on as whoever comes next would: what is on its way is looked after, what was never sent is sent."""

    def once() -> int:
        change(home, "UPDATE tasks SET not_before = NULL WHERE kind = 'batch'")
        change(home, "UPDATE tasks SET lease_until = '2000-01-01 00:00:00.000000' WHERE kind = 'batch'")
        return run_here(capsys, "quick", "--collect").code

    return once


def assert_paid_once(home: Path, claude: ClaudeStandIn) -> None:
    """Every key frame has one answer, from the one batch that was paid for."""
    [(wanted,)] = ask(home, WANTED)
    assert wanted >= 15
    assert ask(home, ANSWERED) == [(wanted,)]
    labels = [label for bill in claude.bills for label in bill.labels]
    assert len(labels) == len(set(labels)) == wanted
    assert all(bill.batch for bill in claude.bills)
    paid = "SELECT count(*), count(DISTINCT frame_id), sum(cost_usd) FROM analyses WHERE cost_usd > 0"
    [(calls, frames, usd)] = ask(home, paid)
    assert (calls, frames) == (wanted, wanted)
    assert usd == pytest.approx(claude.usd, rel=1e-9)


def held_up(claude: ClaudeStandIn, *, taken: bool) -> tuple[threading.Event, threading.Event]:
    """Have the next batch's request hang, before or after it is taken: when it hangs, and how it is let go."""
    hangs, free, take = threading.Event(), threading.Event(), claude.take_batch

    def slow(body: dict[str, object]) -> object:
        batch = take(body) if taken else None
        hangs.set()
        free.wait(30)
        if batch is None:
            raise ConnectionAbortedError
        return batch

    claude.take_batch = slow  # type: ignore[method-assign, assignment]
    return hangs, free


def test_killed_before_it_arrived_it_is_forgotten_and_sent_by_the_next(home, claude, collect, capsys):
    hangs, free = held_up(claude, taken=False)
    with running(*SEND) as process:
        until(hangs.is_set, "it is being sent", process)
        process.kill()
    free.set()
    del claude.take_batch
    assert ask(home, BATCH) == [("todo", None)]
    assert collect() == 1  # it says that it was never sent
    assert ask(home, BATCH) == []
    assert claude.batches == {}
    claude.behave(batch_seconds=0.2)
    assert run_here(capsys, "quick", "1", "--batch", "--yes").code == 0
    assert_paid_once(home, claude)


def test_killed_before_it_knew_the_batchs_id_the_batch_is_found_again(home, claude, collect, capsys):
    hangs, free = held_up(claude, taken=True)
    with running(*SEND) as process:
        until(hangs.is_set, "it is taken", process)
        process.kill()
    free.set()
    del claude.take_batch
    assert ask(home, BATCH) == [("todo", None)]
    claude.finish()
    said = run_here(capsys, "quick", "1", "--batch", "--yes")  # whoever asks again sends nothing
    assert len(claude.batches) == 1, said
    assert collect() == 0
    assert_paid_once(home, claude)


def test_killed_while_it_waits_the_answers_are_fetched_by_the_next(home, claude, collect):
    with running(*SEND) as process:
        until(lambda: ask(home, BATCH) and ask(home, BATCH)[0][1], "it is on its way", process)
        process.kill()
    claude.finish()
    assert collect() == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


@pytest.mark.parametrize("saved", [1, 15])
def test_killed_while_it_saves_each_answer_is_saved_once(home, claude, collect, saved):
    claude.behave(batch_seconds=0.5)
    with running(*SEND) as process:
        until(lambda: ask(home, ANSWERED)[0][0] >= saved, "answers are saved", process)
        process.kill()
    assert collect() == 0
    assert len(claude.batches) == 1
    assert_paid_once(home, claude)


def test_a_worker_goes_on_with_what_somebody_sent(home, claude):
    with running(*SEND) as process:
        until(lambda: ask(home, BATCH) and ask(home, BATCH)[0][1], "it is on its way", process)
        process.kill()
    claude.finish()
    environment = os.environ | {"EVERYFRAME_DESCRIBER": "baseline"}
    with running(COMMAND, "worker", env=environment) as process:
        until(lambda: ask(home, ANSWERED) == ask(home, WANTED), "the worker has fetched them", process)
        process.terminate()
        process.wait(30)
    assert_paid_once(home, claude)
    assert ask(home, BATCH)[0][0] == "done"
