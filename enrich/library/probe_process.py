"""Probes files in a child process with limits, because nobody has checked them yet.

A file may hang FFmpeg, make it ask for gigabytes, or crash it. Then only the child ends: the file is refused with the
reason, and the next one gets a new child. One child probes all files of a command. It is started when the first file
is probed, since that takes about as long as probing twenty files.

Both speak JSON, one line per file, so that a child that was taken over cannot make its parent run code. The child ends
when its standard input does, also in the middle of a file: so none is left behind when the command ends or is killed.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import psutil
from pydantic import TypeAdapter, ValidationError

from enrich.errors import NotAVideoError, VideoError, VideoMissingError
from enrich.video.fingerprint import require_readable
from enrich.video.probe import VideoFacts, probe

if sys.platform != "win32":
    import resource

MODULE = "enrich.library.probe_process"
PROBE_SECONDS = 60.0
MEMORY_BYTES = 3 * 1024**3  # the first frame of a 16K video needs about 2 GB
GIGABYTE = 1024**3
POLL_SECONDS = 0.1  # how often the child's memory is measured, where the system does not limit it
START_SECONDS = 60.0  # until the child is ready, on a busy machine
KILL_SECONDS = 5.0
KILL_SIGNALS = (1, 9, 15)  # SIGHUP, SIGKILL, SIGTERM: sent by other processes or the system, never by a crash
ANSWERED_ERRORS = {kind.__name__: kind for kind in (NotAVideoError, VideoMissingError)}
REMEDY = "the file is probably damaged; nothing was added"
FACTS = TypeAdapter(VideoFacts)


class ProbeCrashedError(NotAVideoError):
    """The child did not survive a file, or an error that nothing foresaw; `details` are for the log."""

    def __init__(self, path: Path, reason: str, details: str = "") -> None:
        super().__init__(f"{path} could not be read: {reason}: {REMEDY}")
        self.details = details or reason


class ProbeProcess:
    """Probes files, one at a time. A context manager: on leaving it, the child is ended. Used from one thread."""

    def __init__(self, *, seconds: float = PROBE_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._child: _Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> "_Child":
        """Start the child, if none runs."""
        if self._child is None:
            self._child = _Child(self._memory_bytes)
        return self._child

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def probe(self, path: Path | str) -> VideoFacts:
        """The metadata of a file: like `enrich.video.probe.probe`, and ProbeCrashedError."""
        path = Path(path).absolute()
        require_readable(path)
        try:
            answer = self._ask(str(path))
        except _ChildFailedError as failure:
            raise ProbeCrashedError(path, str(failure)) from None
        if "facts" in answer:
            try:
                return FACTS.validate_python(answer["facts"])
            except ValidationError as error:
                raise ProbeCrashedError(path, f"its metadata make no sense ({error.title})", str(error)) from error
        if answer.get("is_memory"):
            self.close()  # it may hold a part of it
            raise ProbeCrashedError(path, _too_much_memory(self._memory_bytes))
        if (kind := ANSWERED_ERRORS.get(str(answer.get("error")))) is not None:
            raise kind(str(answer.get("message")))
        raise ProbeCrashedError(path, str(answer.get("message")), str(answer.get("details")))

    def _ask(self, path: str, *, is_retry: bool = False) -> dict[str, Any]:
        """The answer of the child. Asked twice if something else ended the child, which does not blame the file."""
        try:
            return self.start().ask(path, seconds=self._seconds)
        except _ChildFailedError as failure:
            self.close()
            if not failure.is_from_outside or is_retry:
                raise
        except BaseException:  # such as Ctrl-C: the child is still busy with this file
            self.close()
            raise
        return self._ask(path, is_retry=True)


class _ChildFailedError(Exception):
    """The child was ended, or has ended; the message says why. `is_from_outside`: another process has ended it."""

    def __init__(self, reason: str, *, is_from_outside: bool = False) -> None:
        super().__init__(reason)
        self.is_from_outside = is_from_outside


class _Child:
    """A child process that probes, and the thread that reads its answers."""

    def __init__(self, memory_bytes: int) -> None:
        from enrich.process import python_command  # noqa: PLC0415  # it imports SQLAlchemy, which the child need not

        self._memory_bytes = memory_bytes
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            python_command(MODULE, str(memory_bytes)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **_own_group(),
        )
        self._input = cast("IO[bytes]", self._process.stdin)
        self._output = cast("IO[bytes]", self._process.stdout)
        self._measured = psutil.Process(self._process.pid)
        self._reader = threading.Thread(target=self._read, name="everyframe-probe-reader", daemon=True)
        self._reader.start()
        self._is_ready = False

    def ask(self, path: str, *, seconds: float) -> dict[str, Any]:
        """The answer about one file. Raises _ChildFailedError if there is none in time."""
        if not self._is_ready:
            self._answer(START_SECONDS, "starting the process that probes")
            self._is_ready = True
        try:
            self._input.write(json.dumps(path).encode() + b"\n")
            self._input.flush()
        except OSError:
            raise self._failure() from None
        line = self._answer(seconds, "probing")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _ChildFailedError("the process that probes gave no valid answer")
        return answer

    def end(self) -> None:
        """Kill the process and wait for it, but not for ever: one that waits for a network share cannot be killed."""
        self._process.kill()
        try:
            self._process.wait(KILL_SECONDS)
            self._reader.join(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return
        for pipe in (self._input, self._output):
            with suppress(OSError):  # what was written last was not read
                pipe.close()

    def _answer(self, seconds: float, what: str) -> bytes:
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _ChildFailedError(f"{what} took more than {seconds:g} s")
            try:
                line = self._answers.get(timeout=min(left, POLL_SECONDS))
            except queue.Empty:
                if self._memory() > self._memory_bytes:
                    raise _ChildFailedError(_too_much_memory(self._memory_bytes)) from None
                continue
            if line:
                return line
            raise self._failure()

    def _memory(self) -> int:
        try:
            return int(self._measured.memory_info().rss)
        except psutil.Error:  # it has ended
            return 0

    def _failure(self) -> _ChildFailedError:
        """Why the process has ended."""
        try:
            code = self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            return _ChildFailedError("the process that probes gave no answer")
        try:
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        except ValueError:
            name = f"signal {-code}"
        return _ChildFailedError(f"probing crashed ({name})", is_from_outside=-code in KILL_SIGNALS)

    def _read(self) -> None:
        """Runs in its own thread, until the process ends."""
        for line in self._output:
            self._answers.put(line)
        self._answers.put(b"")


def _own_group() -> dict[str, Any]:
    """The `Popen` arguments that keep Ctrl-C, which is for the parent, from the child."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _too_much_memory(limit: int) -> str:
    return f"probing needed more than {limit / GIGABYTE:.2g} GB of memory"


# In the child


def main() -> None:
    """Answer each path on standard input with a line on standard output, until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is no answer
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=[requests], name="everyframe-probe-input", daemon=True).start()
    _limit_memory(int(sys.argv[1]))
    answers.write(b"{}\n")
    while True:
        answers.flush()
        answers.write(json.dumps(_answer_about(Path(requests.get()))).encode() + b"\n")


def _receive(requests: "queue.SimpleQueue[str]") -> None:
    """Runs in its own thread, because codecs do not return while they hang."""
    for line in sys.stdin.buffer:
        requests.put(json.loads(line))
    os._exit(0)  # the parent has ended, or wants this process to


def _answer_about(path: Path) -> dict[str, object]:
    try:
        return {"facts": FACTS.dump_python(probe(path), mode="json")}
    except Exception as error:  # noqa: BLE001  # the parent reports it
        causes: BaseException | None = error
        while causes is not None:
            if isinstance(causes, MemoryError):
                return {"is_memory": True}
            causes = causes.__cause__ or causes.__context__
        if isinstance(error, VideoError):
            return {"error": type(error).__name__, "message": str(error)}
        return {"message": f"{type(error).__name__}: {error}", "details": traceback.format_exc()}


def _limit_memory(limit: int) -> None:
    """Have the system refuse more memory than this. macOS and Windows do not: there the parent measures."""
    if sys.platform != "win32":
        for kind, value in ((resource.RLIMIT_DATA, limit), (resource.RLIMIT_CORE, 0)):
            _, most = resource.getrlimit(kind)
            if most == resource.RLIM_INFINITY or value < most:
                with suppress(OSError, ValueError):
                    resource.setrlimit(kind, (value, most))


if __name__ == "__main__":
    main()
