"""The commands start, pause, resume, stop and status."""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import ask, running
from tests.control.background import Background
from tests.waiting import wait_until
from tests.worker.workspace import open_workspace


@pytest.fixture
def background(home: Path, standin, monkeypatch: pytest.MonkeyPatch) -> Iterator[Background]:
    monkeypatch.setenv("EVERYFRAME_KEEP_AWAKE", "never")
    workspace = open_workspace(home, ollama_hosts=standin.address)
    watched = Background(workspace)
    yield watched
    watched.end()
    workspace.library.engine.dispose()


@pytest.mark.slow
def test_start_pause_resume_stop(cli, standin, party, home, background):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)

    started = cli("start")
    assert (started.code, started.err) == (0, "")
    pid = background.run().process.pid
    assert started.out.startswith(f"Started the worker in the background: process {pid} on ")
    assert str(home / "logs" / "worker.log") in started.out.replace("\n", "")
    again = cli("start")
    assert (again.code, again.err) == (0, "")
    assert again.out.startswith(f"The worker is already running: process {pid} on ")

    assert cli("pause").out.startswith("Paused. The model is unloaded.")
    shown = cli("status")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"^Worker +paused$", shown.out, re.MULTILINE)
    assert cli("resume").out == "Resumed.\n"
    background.until_described(12)
    background.until(lambda: re.search(r"^Worker +running$", cli("status").out, re.MULTILINE), "it is shown to run")

    assert cli("stop").out == "Stopped. 12 frames described in this run. Continue with: everyframe start\n"
    assert cli("stop").out == "No worker is running.\n"
    shown = cli("status").out
    assert re.search(r"^Worker +not running, last run stopped at ", shown, re.MULTILINE)
    assert "12/12 frames; representing 12 of 12 source frames (100 %); 1 of 1 video extracted" in shown
    assert "Speed      idle; nothing left to describe" in shown


def test_status_as_json(cli, library, background):
    cli("start")
    background.until_state("running")
    found = cli("status", "--json").json
    assert (found["health"], found["state"], found["is_running"], found["is_supervised"]) == (
        "well",
        "running",
        True,
        True,
    )
    assert found["run"]["pid"] == background.run().process.pid
    assert found["worker"]["memory_bytes"] > 10_000_000
    assert (found["videos"], found["described"], found["left"], found["failed"]) == (2, 18, 0, 0)


def test_start_reports_what_the_worker_waits_for(cli, standin, party, background):
    cli("add", "--sampling", "exact", party)
    standin.stop()
    started = cli("start")
    assert started.code == 0
    assert "It is waiting: Ollama at" in started.out
    assert re.search(r"^Host +http\S+ backing off: Ollama at", cli("status").out, re.MULTILINE)


def test_status_without_a_worker(cli, library):
    shown = cli("status")
    assert shown.code == 0
    assert "not running, last run finished at" in shown.out
    assert "18/18 frames" in shown.out


def test_failures_are_grouped_by_reason(cli, library):
    from tests.cli.terminal import change

    change(library, "UPDATE tasks SET status = 'failed', error = 'no answer' WHERE kind = 'describe'")
    shown = cli("status").out
    assert re.search(r"^Failed +18 × no answer$", shown, re.MULTILINE)
    assert "Retry with: everyframe retry" in shown


def test_pause_needs_a_worker(cli, library):
    cli("pause").refused("no worker is running. Start one with `everyframe start`")
    cli("resume").refused("no worker is running")


def test_watch_through_a_pipe_prints_blocks(cli, library, monkeypatch):
    code = """if True:
        import signal
        from enrich.cli import control, main
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background test run ignores SIGINT
        control.BLOCK_SECONDS = 0.2
        main(['status', '--watch'])
    """
    with running(sys.executable, "-c", code) as process:
        seen = ""
        end = time.monotonic() + 60
        while "Speed" not in seen:
            assert time.monotonic() < end
            seen += process.stdout.readline()
        assert re.match(r"Worker +not running", seen)
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


def test_log_is_json_with_the_run(cli, standin, party, home, background):
    cli("add", "--sampling", "exact", party)
    cli("start")
    background.until_described(12)
    cli("stop")
    lines = (home / "logs" / "worker.log").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert {"run_began", "host_ready", "run_ended"} <= {record.get("action") for record in records}
    assert {record.get("run") for record in records if record.get("action") == "host_ready"} == {1}
    wait_until(lambda: ask(home, "SELECT state FROM runs") == [("stopped",)], "the run has ended")


def test_at_login_installs_and_starts_the_same_command(cli, library, background, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", str(tmp_path))  # without systemd, a desktop entry is used
    started = cli("start", "--at-login", "--model", "llava:13b")
    assert (started.code, started.err) == (0, "")
    assert "The worker will start at login" in started.out
    assert "Started the worker in the background" in started.out
    [written] = [path for path in (tmp_path / "config").rglob("everyframe*") if path.is_file()]
    assert "enrich.control.supervisor" in written.read_text()
    assert "llava:13b" in written.read_text()
    cli("stop")
    assert cli("start", "--not-at-login").out == "The worker will no longer start at login.\n"
    assert not written.exists()
    assert cli("start", "--not-at-login").out == "The worker was not set to start at login.\n"
