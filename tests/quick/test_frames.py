"""The pictures a quick pass chooses from: had by seeking, beside a worker or alone, and given back when interrupted."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.terminal import COMMAND, PATIENCE_SECONDS, Terminal, ask, change, running, settled, until
from tests.clips import numbered_clip
from tests.quick.conftest import PICTURES
from tests.quick.test_killed import ANSWERED
from tests.standin import StandIn
from tests.standin_claude import ClaudeStandIn

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]
SKIM = "SELECT status FROM tasks WHERE kind = 'skim'"
IN_HAND = (
    "UPDATE tasks SET status = 'doing', lease_token = 'x', lease_until = '2100-01-01 00:00:00' WHERE kind = 'skim'"
)
GIVEN_BACK = "UPDATE tasks SET status = 'todo', lease_token = NULL, lease_until = NULL WHERE kind = 'skim'"
DESCRIBED = "SELECT count(*) FROM frames WHERE local_description IS NOT NULL"


def answered(home: Path) -> int:
    """How many pictures have a quick look."""
    return int(ask(home, ANSWERED)[0][0])


@pytest.fixture
def added(empty_home: Path, film: Path, cli: Cli) -> Path:
    """A library whose film nobody has looked into yet."""
    assert cli("add", film, "--sampling", "exact").code == 0
    return empty_home


def test_it_seeks_and_does_not_decode(added: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    assert answered(added) == 8
    assert ask(added, SKIM) == [("done",)]
    assert ask(added, "SELECT extraction_status FROM videos") == [("skimmed",)]
    assert ask(added, 'SELECT count(*) FROM frames WHERE "index" IS NOT NULL') == [(0,)]


def test_extraction_afterwards_keeps_the_key_frames_and_what_was_paid_for(
    added: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    key_frames = ask(added, "SELECT id, quick_description FROM frames WHERE is_keyframe ORDER BY id")
    assert cli("extract").code == 0
    assert ask(added, "SELECT count(*), sum(stands_for) FROM frames") == [(PICTURES, PICTURES)]
    assert ask(added, "SELECT id, quick_description FROM frames WHERE is_keyframe ORDER BY id") == key_frames
    claude.forget()
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    assert claude.sent == []
    assert cli("verify").code == 0


def test_beside_a_worker_both_passes_come_to_their_ends(
    added: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StandIn(parallel=2, delay=0.05) as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.address)
        with running(COMMAND, "worker") as worker:
            said = cli("quick", "1", "--frames", "8", "--yes")
            assert said.code == 0, said
            until(lambda: ask(added, DESCRIBED) == [(PICTURES,)], "all is described", worker)
            until(lambda: ask(added, "SELECT enrichment_status FROM videos") == [("enriched",)], "it is done", worker)
            worker.terminate()
            worker.wait(PATIENCE_SECONDS)
        assert len(ollama.described) == len(set(ollama.described)) == PICTURES
    assert answered(added) == 8
    assert cli("verify").code == 0
    assert settled(added)


def test_a_look_that_somebody_has_in_hand_is_waited_for(added: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    change(added, IN_HAND)
    later = threading.Timer(1.0, change, (added, GIVEN_BACK))
    later.start()
    said = cli("quick", "1", "--frames", "8", "--yes")
    later.join()
    assert said.code == 0, said
    assert answered(added) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_while_it_waits_nothing_is_sent_and_nothing_is_held(
    added: Path, claude: ClaudeStandIn, number: signal.Signals
) -> None:
    change(added, IN_HAND)
    with running(COMMAND, "quick", "1", "--yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Looking at film …\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")
    assert claude.sent == []
    change(added, GIVEN_BACK)
    assert settled(added)


def test_a_film_that_is_too_short_to_seek_in_is_decoded(
    empty_home: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    short = numbered_clip(tmp_path / "short.mp4", frames=1)
    assert cli("add", short).code == 0
    assert cli("quick", "1", "--yes").code == 0
    assert answered(empty_home) == 1


def test_a_file_that_is_gone_is_said_and_nothing_is_sent(
    empty_home: Path, film: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    path = tmp_path / "moved.mp4"
    shutil.copy(film, path)
    assert cli("add", path).code == 0
    path.unlink()
    said = cli("quick", "1", "--yes")
    assert said.code == 1
    assert str(path) in said.err
    assert "Traceback" not in said.err
    assert claude.sent == []
    assert settled(empty_home)
    shutil.copy(film, path)
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0


def test_a_film_of_which_nothing_can_be_decoded_says_so(
    empty_home: Path, film: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    path = tmp_path / "broken.mp4"
    shutil.copy(film, path)
    assert cli("add", path).code == 0
    whole = path.read_bytes()
    with path.open("r+b") as file:  # the pictures, not the box that lists them
        start = whole.index(b"mdat") + 4
        end = whole.index(b"moov") - 4
        file.seek(start)
        file.write(os.urandom(end - start))
    said = cli("quick", "1", "--yes")
    assert said.code == 1
    assert said.err.startswith("everyframe: ")
    assert "Traceback" not in said.err
    assert claude.sent == []
