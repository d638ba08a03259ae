"""The frames a quick pass chooses from: skimmed beside a worker or alone, released when interrupted."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from db.errors import DatabaseLockedError
from enrich.quick import frames
from tests.cli.terminal import COMMAND, Terminal, ask, change, running, settled
from tests.clips import numbered_clip, run_ffmpeg
from tests.quick.conftest import FRAMES
from tests.quick.test_killed import ANSWERED
from tests.standin import StandIn
from tests.standin_claude import ClaudeStandIn
from tests.waiting import PATIENCE_SECONDS, wait_until
from tests.worker.workspace import Workspace

pytestmark = pytest.mark.slow

Cli = Callable[..., Terminal]
SKIM = "SELECT status FROM tasks WHERE kind = 'skim'"
CLAIMED = (
    "UPDATE tasks SET status = 'doing', lease_token = 'x', lease_until = '2100-01-01 00:00:00' WHERE kind = 'skim'"
)
RELEASED = "UPDATE tasks SET status = 'todo', lease_token = NULL, lease_until = NULL WHERE kind = 'skim'"
LONG_SECONDS = 60
DESCRIBED = "SELECT count(*) FROM frames WHERE local_description IS NOT NULL"


def answered(home: Path) -> int:
    """How many frames have a quick description."""
    return int(ask(home, ANSWERED)[0][0])


@pytest.fixture
def added(empty_home: Path, video: Path, cli: Cli) -> Path:
    """A library whose video has not been skimmed yet."""
    assert cli("add", video, "--sampling", "exact").code == 0
    return empty_home


def test_quick_pass_skims_without_decoding(added: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    assert answered(added) == 8
    assert ask(added, SKIM) == [("done",)]
    assert ask(added, "SELECT extraction_status FROM videos") == [("skimmed",)]
    assert ask(added, 'SELECT count(*) FROM frames WHERE "index" IS NOT NULL') == [(0,)]


def test_later_extraction_keeps_paid_key_frames(added: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    key_frames = ask(added, "SELECT id, quick_description FROM frames WHERE is_keyframe ORDER BY id")
    assert cli("extract").code == 0
    assert ask(added, "SELECT count(*), sum(stands_for) FROM frames") == [(FRAMES, FRAMES)]
    assert ask(added, "SELECT id, quick_description FROM frames WHERE is_keyframe ORDER BY id") == key_frames
    claude.forget()
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0
    assert claude.sent == []
    assert cli("verify").code == 0


def test_quick_pass_and_worker_both_finish(
    added: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StandIn(parallel=2, delay=0.05) as ollama:
        monkeypatch.setenv("OLLAMA_HOST", ollama.address)
        with running(COMMAND, "worker") as worker:
            done = cli("quick", "1", "--frames", "8", "--yes")
            assert done.code == 0, done
            wait_until(lambda: ask(added, DESCRIBED) == [(FRAMES,)], "all is described", worker)
            wait_until(
                lambda: ask(added, "SELECT enrichment_status FROM videos") == [("enriched",)], "it is done", worker
            )
            worker.terminate()
            worker.wait(PATIENCE_SECONDS)
        assert len(ollama.described) == len(set(ollama.described)) == FRAMES
    assert answered(added) == 8
    assert cli("verify").code == 0
    assert settled(added)


def test_claimed_skim_is_waited_for(added: Path, claude: ClaudeStandIn) -> None:
    change(added, CLAIMED)
    with running(COMMAND, "quick", "1", "--frames", "8", "--yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Skimming film …\n"
        assert answered(added) == 0
        change(added, RELEASED)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, (out, err)
    assert answered(added) == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_wait_sends_nothing_and_holds_no_lease(
    added: Path, claude: ClaudeStandIn, number: signal.Signals
) -> None:
    change(added, CLAIMED)
    with running(COMMAND, "quick", "1", "--yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Skimming film …\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, out, err) == (130, "", "")
    assert claude.sent == []
    change(added, RELEASED)
    assert settled(added)


@pytest.fixture
def slow_to_decode(empty_home: Path, tmp_path: Path, cli: Cli) -> Path:
    """A library with a video that takes many seconds to decode, and could not be skimmed."""
    path = tmp_path / "long.mp4"
    run_ffmpeg("-f", "lavfi", "-i", f"testsrc=duration={LONG_SECONDS}:size=480x270:rate=30", "-c:v", "mpeg4", path)
    assert cli("add", path, "--sampling", "exact").code == 0
    change(empty_home, "DELETE FROM tasks WHERE kind = 'skim'")
    return empty_home


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_interrupted_decoding_ends_at_once_and_is_continued(
    slow_to_decode: Path, claude: ClaudeStandIn, cli: Cli, number: signal.Signals
) -> None:
    home, kept = slow_to_decode, "SELECT count(*) FROM frames"
    with running(COMMAND, "quick", "1", "--frames", "8", "--yes") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Decoding long …\n"
        wait_until(lambda: ask(home, kept)[0][0] > 100, "frames are kept", process)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    [(first,)] = ask(home, kept)
    assert first < 30 * LONG_SECONDS / 2  # it did not go on to the end
    assert claude.sent == []
    with running(COMMAND, "quick", "1", "--frames", "8", "--yes") as process:
        out, err = process.communicate(timeout=2 * PATIENCE_SECONDS)
    assert process.returncode == 0, (out, err)
    assert ask(home, "SELECT count(*), count(DISTINCT timestamp) FROM frames") == [(30 * LONG_SECONDS,) * 2]
    [(last,)] = ask(home, "SELECT max(timestamp) FROM frames WHERE event_type IS NOT NULL")
    assert last > LONG_SECONDS / 2  # not only of what was decoded first
    assert settled(home)


def test_decoding_of_another_process_is_not_waited_for_without_end(
    added: Path, claude: ClaudeStandIn, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "OTHERS_SECONDS", 0.3)
    change(added, "DELETE FROM tasks WHERE kind = 'skim'")
    change(added, CLAIMED.replace("skim", "extract"))
    done = cli("quick", "1", "--yes")
    assert done.code == 1
    assert "another process is decoding" in done.err
    assert claude.sent == []
    change(added, RELEASED.replace("skim", "extract"))


def test_video_too_short_to_skim_is_decoded(empty_home: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli) -> None:
    short = numbered_clip(tmp_path / "short.mp4", frames=1)
    assert cli("add", short).code == 0
    assert cli("quick", "1", "--yes").code == 0
    assert answered(empty_home) == 1


def test_missing_file_is_reported_and_nothing_is_sent(
    empty_home: Path, video: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    path = tmp_path / "moved.mp4"
    shutil.copy(video, path)
    assert cli("add", path).code == 0
    path.unlink()
    done = cli("quick", "1", "--yes")
    assert done.code == 1
    assert str(path) in done.err
    assert "Traceback" not in done.err
    assert claude.sent == []
    assert settled(empty_home)
    shutil.copy(video, path)
    assert cli("quick", "1", "--frames", "8", "--yes").code == 0


def test_undecodable_video_is_reported(
    empty_home: Path, video: Path, tmp_path: Path, claude: ClaudeStandIn, cli: Cli
) -> None:
    path = tmp_path / "broken.mp4"
    shutil.copy(video, path)
    assert cli("add", path).code == 0
    whole = path.read_bytes()
    with path.open("r+b") as file:  # the media data, not the index
        start = whole.index(b"mdat") + 4
        end = whole.index(b"moov") - 4
        file.seek(start)
        file.write(os.urandom(end - start))
    done = cli("quick", "1", "--yes")
    assert done.code == 1
    assert done.err.startswith("everyframe: ")
    assert "Traceback" not in done.err
    assert claude.sent == []


def test_locked_database_counts_no_attempt_at_the_video(
    workspace: Workspace, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object, **__: object) -> None:
        raise DatabaseLockedError("library.db is locked")

    workspace.add(video)
    monkeypatch.setattr(frames, "skim_video", locked)
    with pytest.raises(DatabaseLockedError):
        frames.ensure_frames(workspace.library, 1, wanted=8, stop=threading.Event())
    assert (workspace.attempts(), workspace.tasks("skim")) == (0, {"todo": 1})
