"""Tests that need real processes: signals, broken pipes, a second worker, progress bars, locales."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.terminal import COMMAND, ask, run_process, running, settled
from tests.clips import numbered_clip
from tests.waiting import PATIENCE_SECONDS, wait_until

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
BARE_TEXT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def states(home):
    return [state for (state,) in ask(home, "SELECT state FROM runs ORDER BY id")]


def stopped(process, number):
    """Send a signal; the exit code and the output."""
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    return process.returncode, out, err


@SIGNALS
def test_signal_while_describing_saves_and_exits_130(cli, standin, party, home, number):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    with running(COMMAND, "enrich") as process:
        wait_until(lambda: len(standin.described) >= 3, "frames were described", process)
        code, out, err = stopped(process, number)
    assert code == 130
    assert err == ""
    assert re.search(r"Stopped\. \d+ frames left\. Continue with: everyframe enrich", out)
    assert settled(home)
    assert states(home) == ["stopped"]
    standin.behave(delay=0)
    assert cli("enrich").code == 0
    assert sorted(standin.described) == list(range(100, 112))  # every request was answered, none was sent twice


@SIGNALS
def test_signal_while_extracting_saves_and_next_run_resumes(cli, home, long_video, number):
    cli("add", "--sampling", "exact", long_video)
    with running(COMMAND, "extract") as process:
        wait_until(lambda: ask(home, "SELECT count(*) FROM frames")[0][0] > 20, "frames were kept", process)
        code, out, _ = stopped(process, number)
    assert code == 130
    assert "Stopped. 1 video to extract left. Continue with: everyframe enrich" in out
    assert settled(home)
    assert ask(home, "SELECT extraction_status FROM videos") == [("pending",)]
    kept = {name for (name,) in ask(home, "SELECT image_path FROM frames")}
    assert kept
    with running(COMMAND, "extract") as process:
        wait_until(
            lambda: ask(home, "SELECT extraction_status FROM videos") == [("extracting",)],
            "extraction resumes",
            process,
        )
        stopped(process, number)
    assert kept <= {name for (name,) in ask(home, "SELECT image_path FROM frames")}


@SIGNALS
def test_signal_while_waiting_for_ollama_ends_at_once(cli, party, home, number):
    cli("add", "--sampling", "exact", party)
    with running(COMMAND, "enrich") as process:
        wait_until(lambda: states(home) == ["waiting"], "it waits", process)
        wait_until(lambda: ask(home, "SELECT extraction_status FROM videos") == [("extracted",)], "decoded", process)
        began = time.monotonic()
        code, out, err = stopped(process, number)
    assert time.monotonic() - began < 5
    assert code == 130
    assert "Stopped. 12 frames left." in out
    assert "is not responding" in err
    assert settled(home)


@SIGNALS
@pytest.mark.parametrize("command", [[COMMAND, "worker"], [sys.executable, "-m", "enrich"]], ids=["worker", "-m"])
def test_idle_worker_waits_for_a_signal(cli, standin, library, command, number):
    with running(*command) as process:
        wait_until(lambda: states(library)[-1] == "running", "it runs", process)
        code, _, err = stopped(process, number)
    assert code == 0
    assert "run 2 ended: stopped" in err
    assert settled(library)


def test_worker_picks_up_videos_added_later(cli, standin, party, home):
    assert cli("list").code == 0
    with running(sys.executable, "-m", "enrich") as process:
        wait_until(lambda: states(home) == ["running"], "it runs", process)
        assert cli("add", "--sampling", "exact", party).code == 0
        wait_until(lambda: ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)], "it is done", process)
        code, _, _ = stopped(process, signal.SIGTERM)
    assert code == 0
    assert sorted(standin.described) == list(range(100, 112))


def test_second_worker_is_refused(cli, standin, library):
    with running(sys.executable, "-m", "enrich") as process:
        wait_until(lambda: states(library)[-1] == "running", "it runs", process)
        cli("enrich").refused(f"a worker is already running on this library (process {process.pid} on ")
        second = run_process("worker")
        assert second.code == 1
        assert "everyframe: a worker is already running on this library" in second.err
        assert "Traceback" not in second.err
        assert cli("list").code == 0  # reading is allowed
        stopped(process, signal.SIGTERM)
    assert cli("enrich").code == 0


def test_killed_worker_leaves_nothing_behind(cli, standin, party, home):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    with running(COMMAND, "enrich") as process:
        wait_until(lambda: len(standin.described) >= 3, "frames were described", process)
        process.kill()
        process.wait()
    assert not settled(home)
    standin.behave(delay=0)
    assert cli("enrich").code == 0
    assert settled(home)
    assert states(home) == ["crashed", "finished"]
    assert ask(home, "SELECT count(*) FROM frames WHERE local_description IS NULL") == [(0,)]


@pytest.mark.parametrize("command", [["show", "2"], ["list", "--json"], ["export", "2"], ["search", "number"]])
def test_closed_pipe_prints_no_error(library, command):
    with running(COMMAND, *command) as process:
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert err == ""
    assert process.returncode == 1


def terminal_output(*command):
    """Run a command in a terminal with 120 columns; its exit code and its output."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "TERM": "xterm-256color"}
    with running(*command, stdin=follower, stdout=follower, stderr=follower, env=environment, text=False) as process:
        os.close(follower)
        seen, end = b"", time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            ready, _, _ = select.select([leader], [], [], 0.1)
            try:
                part = os.read(leader, 65536) if ready else b""
            except OSError:  # EIO: the other side is closed
                break
            seen += part
        process.wait(PATIENCE_SECONDS)
    os.close(leader)
    return process.returncode, seen.decode()


@pytest.mark.slow
def test_terminal_bar_shows_rate_and_time_left(cli, standin, party):
    standin.behave(delay=1.0)
    cli("add", "--sampling", "exact", party)
    code, seen = terminal_output(COMMAND, "enrich")
    assert code == 0
    plain = BARE_TEXT.sub("", seen)
    assert re.search(r"Describing [━╸╺ ]+ [3-9]/12 +\d\d%", plain)
    assert re.search(r"\d+/12 +\d+% +about \d+ s left, by \d\d:\d\d, \d+\.\d\d frames/s", plain)
    assert re.findall(r"\d+/12", plain)[-1] == "12/12"
    assert "12 frames described" in plain


def test_terminal_bar_shows_the_video_name_as_text(cli, long_video, tmp_path):
    (video := tmp_path / "[red]long.mp4").symlink_to(long_video)
    cli("add", "--sampling", "exact", video)
    code, seen = terminal_output(COMMAND, "extract")
    assert code == 0
    plain = BARE_TEXT.sub("", seen)
    assert "Extracting [red]long" in plain
    assert re.search(r"\d+/750 +\d+%", plain)


def test_terminal_escapes_in_titles_are_not_printed(cli, tmp_path):
    numbered_clip(tmp_path / "made.mp4", frames=2).rename(tmp_path / "a\x1b[31m[bold]b.mp4")
    cli("add", "--sampling", "exact", tmp_path)
    _, seen = terminal_output(COMMAND, "list")
    assert "\x1b[31m" not in seen
    assert r"a\x1b[31m[bold]b" in seen


def test_pull_shows_a_bar(standin):
    code, seen = terminal_output(COMMAND, "models", "pull", "moondream")
    assert code == 0
    plain = BARE_TEXT.sub("", seen)
    assert "1.0/1.0 kB" in plain
    assert "━" in plain


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_limited_locale_does_not_break_output(library, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    said = run_process("show", "1", env=environment)
    assert (said.code, said.err) == (0, "")
    assert "(×5)" in said.out
    assert json.loads(run_process("list", "--json", env=environment).out)[0]["id"] == 1


def test_remove_in_a_terminal_asks_for_confirmation(library):
    leader, follower = pty.openpty()
    with running(COMMAND, "remove", "1", stdin=follower, stdout=subprocess.PIPE) as process:
        os.write(leader, b"n\n")
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(leader)
    os.close(follower)
    assert process.returncode == 130
    assert "Delete numbers: 6 images and 6 descriptions? The video file is kept." in out + err
    assert len(ask(library, "SELECT id FROM videos")) == 2


def test_files_of_every_command_are_private(cli, standin, party, home):
    """With the umask of most systems, also in a folder that was made before."""
    home.mkdir(mode=0o755)
    for command in (["add", party], ["enrich"], ["strip", "1", "--frame", "2"], ["start"], ["stop"]):
        said = run_process(*command)
        assert said.code == 0, said.err
    files = [home, *home.rglob("*")]
    assert {"library.db", "logs", "frames"} <= {file.name for file in files}
    assert [file for file in files if file.stat().st_mode & 0o077] == []
