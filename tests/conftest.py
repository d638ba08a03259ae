"""What every test needs: a clean environment, and checks that it leaves nothing behind. Fixtures of several folders.

A test fails if it logs an ERROR that it does not declare, or leaves a thread or a child process running. A test run
fails if it leaves a file in the project's folder, or a process anywhere. Ignored are caches, builds, and `.py`, `.md`
and `.toml` files, which a person may save while the tests run. A test declares the errors it expects by the
beginning of their messages: `@pytest.mark.expected_errors("damaged: ")`. A folder that needs other values overrides
`environment_variables`, `short_pauses` or `thread_grace_seconds`.

Heavy libraries are imported inside the fixtures that need them.
"""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.environment import (
    ChildProcesses,
    processes_using,
    project_files,
    remove_personal_settings,
    without_root_override,
)

if TYPE_CHECKING:
    from tests.faulty_drive import FaultyDrive
    from tests.standin import StandIn
    from tests.worker.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
PROCESS_GRACE_SECONDS = 20.0  # a page may have started a command that has not finished on a busy machine
PHASES = ("setup", "call", "teardown")
child_processes = ChildProcesses()


@pytest.fixture(scope="session", autouse=True)
def session_environment() -> Iterator[None]:
    """Fixtures of sessions and modules inherit no personal settings either."""
    with pytest.MonkeyPatch.context() as patch:
        remove_personal_settings(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_leftover_file() -> Iterator[None]:
    """No new file in the project's folder."""
    before = project_files(PROJECT)
    yield
    assert sorted(project_files(PROJECT) - before) == []


@pytest.fixture(scope="session", autouse=True)
def no_leftover_background_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No process that works on a library of these tests, not even an orphaned one."""
    yield
    assert processes_using(tmp_path_factory.getbasetemp()) == []


@pytest.fixture
def environment_variables(tmp_path: Path) -> dict[str, str]:
    """The settings a test starts with: an empty home."""
    return {"EVERYFRAME_HOME": str(tmp_path / "home")}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, environment_variables: dict[str, str]) -> None:
    """No personal settings, and no key from the keyring of the person who runs the tests."""
    remove_personal_settings(monkeypatch)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    for name, value in environment_variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def file_permissions(tmp_path: Path) -> Iterator[None]:
    """Makes file permissions apply to the test, even if root runs it. Skips it where they do not apply."""
    with without_root_override():
        probe = tmp_path / "unreadable"
        probe.touch(mode=0)
        try:
            probe.read_bytes()
        except PermissionError:
            yield
        else:
            pytest.skip("this user can read every file")
        finally:
            probe.unlink()


@pytest.fixture(autouse=True)
def same_signal_handlers() -> Iterator[None]:
    """Commands replace the signal handlers of their process; this restores them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell runs the tests in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_unexpected_error(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No ERROR record except those that the test declares."""
    caplog.set_level(logging.INFO, logger="enrich")
    yield
    records = (record for phase in PHASES for record in caplog.get_records(phase))
    errors = [record.getMessage() for record in records if record.levelno >= logging.ERROR]
    expected = tuple(text for marker in request.node.iter_markers("expected_errors") for text in marker.args)
    assert [error for error in errors if not error.startswith(expected)] == []


@pytest.fixture
def thread_grace_seconds() -> float:
    """How long after a test its threads may still run their last lines."""
    return 5.0


@pytest.fixture(autouse=True)
def no_leftover_thread(thread_grace_seconds: float) -> Iterator[None]:
    """No thread of the program that still runs; those of fixtures with a wider scope were started before."""
    before = set(threading.enumerate())
    yield
    started = set(threading.enumerate()) - before
    left = [thread for thread in started if thread.name.startswith("everyframe-")]
    for thread in left:
        thread.join(thread_grace_seconds)
    assert [thread.name for thread in left if thread.is_alive()] == []


@pytest.fixture(autouse=True)
def no_leftover_process(no_leftover_thread: None) -> Iterator[None]:
    """No child process that still runs; those of fixtures with a wider scope were started before.

    It is checked before the threads, since some wait for a process.
    """
    before = child_processes.listed()
    yield
    started = child_processes.listed() - before
    _, left = psutil.wait_procs(started, PROCESS_GRACE_SECONDS) if started else ([], [])
    commands = [process.cmdline() for process in left]  # a killed process has none
    for process in left:
        process.kill()
    assert commands == []


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The umask of most systems: commands run in this process, and make it stricter."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session", autouse=True)
def shared_probe_process(session_environment: None) -> Iterator[None]:
    """One child process probes the files that tests add; adding in a test would otherwise take longer by its start."""
    from enrich.library import probe_process

    with pytest.MonkeyPatch.context() as patch, probe_process.ProbeProcess() as shared:
        patch.setattr(probe_process, "ProbeProcess", lambda: nullcontext(shared))
        shared.start()
        yield


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process pauses for hundredths of a second where it usually pauses for seconds."""
    from enrich.worker import decoder, host_health, host_runner, prefetch, result_writer, worker

    monkeypatch.setattr(host_runner, "FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(host_runner, "LONGEST_BACKOFF_SECONDS", 0.1)
    monkeypatch.setattr(host_health, "HEALTH_CHECK_POLL_SECONDS", 0.02)
    monkeypatch.setattr(host_health, "FEWEST_FRAMES", 10_000)  # no health check where a test counts requests
    monkeypatch.setattr(result_writer, "RETRY_PAUSE_SECONDS", 0)
    monkeypatch.setattr(worker, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(decoder, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(prefetch, "POLL_SECONDS", 0.05)


@pytest.fixture
def drive(tmp_path: Path) -> Iterator["FaultyDrive"]:
    """A drive whose reads can be made to fail."""
    from tests.faulty_drive import FaultyDrive

    drive = FaultyDrive(tmp_path / "faulty")
    drive.start()
    yield drive
    drive.stop()


@pytest.fixture
def standin() -> Iterator["StandIn"]:
    from tests.standin import StandIn

    with StandIn(parallel=8) as server:
        yield server


@pytest.fixture
def make_workspace(tmp_path: Path, standin: "StandIn", short_pauses: None) -> Iterator[Callable[..., "Workspace"]]:
    """Opens a library that uses the stand-in; keywords are settings."""
    from tests.worker.workspace import open_workspace

    opened: list[Workspace] = []

    def make(name: str = "home", **settings: Any) -> "Workspace":
        opened.append(open_workspace(tmp_path / name, **({"ollama_hosts": standin.address} | settings)))
        return opened[-1]

    yield make
    for workspace in opened:
        workspace.library.engine.dispose()


@pytest.fixture
def workspace(make_workspace: Callable[..., "Workspace"]) -> "Workspace":
    return make_workspace()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A numbered clip, made once for each set of arguments; read-only."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[str, Path] = {}

    def make(frames: int = 30, **options: Any) -> Path:
        from tests.clips import numbered_clip

        key = f"{frames}-{sorted(options.items())}"
        if key not in made:
            made[key] = numbered_clip(folder / f"clip-{len(made)}.mp4", frames=frames, **options)
        return made[key]

    return make
