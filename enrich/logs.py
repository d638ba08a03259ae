"""Logging: one logger a module, and an `action` from a closed list in every record of the work.

A terminal gets a readable line a record, a file one JSON object a line, with the run, video, frame and host where
they are known. Pictures, keys and passwords are taken out of whatever is written; prompts are never logged. A file
belongs to one process at a time: worker and supervisor have one each.
"""

import faulthandler
import json
import logging
import os
import re
import sys
import threading
from datetime import UTC, datetime
from enum import StrEnum
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any

from enrich.errors import SettingsError
from enrich.settings import Settings

ROTATED_BYTES = 5_000_000
ROTATED_FILES = 5
LONGEST_CRASH_BYTES = 1_000_000
LONGEST_TEXT = 10_000  # characters: a host that answers with a novel does not fill the log
OURS = ("enrich", "db")  # of other libraries only warnings are written, since they log what they send
ENDS_SHOWN = ("run", "video", "frame", "host")
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"\bsk-[\w-]{8,}"), "[key]"),
    (re.compile(r"(?i)\b(bearer|basic) +[\w.+/=~-]{8,}"), r"\1 [key]"),
    (re.compile(r"(?i)\b((?:api[_-]?key|password)['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&}]+"), r"\1[key]"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), r"\1:[key]@"),
    (re.compile(r"/9j/[A-Za-z0-9+/]{12,}=*|iVBORw0KGgo[A-Za-z0-9+/]*=*|[A-Za-z0-9+/]{400,}=*"), "[picture]"),
    (re.compile(r"\\+xff\\+xd8\\+xff[^\s'\"]*"), "[picture]"),
    (re.compile(r"\[parameters: [^\n]*"), "[parameters left out]"),  # of an SQL statement: prompts' context, replies
)
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what a terminal would obey
_known: dict[str, Any] = {}

log = logging.getLogger(__name__)


class Action(StrEnum):
    """What a log record is about."""

    RUN_BEGAN = "run_began"
    RUN_ENDED = "run_ended"
    STATE_CHANGED = "state_changed"
    WORKER_STARTED = "worker_started"
    WORKER_ENDED = "worker_ended"
    TASKS_SWEPT = "tasks_swept"
    TASKS_CRASH_LIMIT = "tasks_crash_limit"
    SUSPECTS_ISOLATED = "suspects_isolated"
    MODEL_UNLOADED = "model_unloaded"
    VIDEO_SKIMMED = "video_skimmed"
    VIDEO_DECODED = "video_decoded"
    VIDEO_FAILED = "video_failed"
    VIDEO_WAITING = "video_waiting"
    IMAGE_RESTORED = "image_restored"
    FRAME_FAILED = "frame_failed"
    ANSWER_DROPPED = "answer_dropped"
    HOST_READY = "host_ready"
    HOST_BACKING_OFF = "host_backing_off"
    HEALTH_CHECK_FAILED = "health_check_failed"
    DATABASE_LOCKED = "database_locked"
    SLEEP_INHIBITOR_CHANGED = "sleep_inhibitor_changed"
    BATCH_COLLECTED = "batch_collected"
    BATCH_WAITING = "batch_waiting"
    UNCAUGHT = "uncaught"


def about(action: Action, **fields: Any) -> dict[str, Any]:
    """The `extra` of a log record."""
    return {"action": action.value, **fields}


def set_run(run_id: int | None) -> None:
    """Put the run into every record of this process from now on."""
    _known["run"] = run_id


def log_path(settings: Settings, program: str = "worker") -> Path:
    """The log file of the worker or the supervisor."""
    return settings.home / "logs" / f"{program}.log"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write this program's records to stderr, readable, a line each; of other libraries only warnings."""
    handler = _TerminalHandler()
    handler.setFormatter(_ReadableLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    _install(handler, level)


def log_to_file(path: Path, level: int = logging.INFO) -> None:
    """Write this program's records to a rotating file, a JSON object a line; of other libraries only warnings.

    Raises SettingsError if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(
            path, maxBytes=ROTATED_BYTES, backupCount=ROTATED_FILES, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise SettingsError(f"the log cannot be written, see EVERYFRAME_HOME: {error}") from error
    handler.setFormatter(_JsonLine())
    _install(handler, level)


def catch_crashes(folder: Path, program: str = "worker") -> None:
    """Record what no code of ours catches: exceptions in the log, crashes of C code in `<program>-crash.txt`.

    Exceptions that nobody awaits are recorded by asyncio itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{program}-crash.txt"
    if path.exists() and path.stat().st_size > LONGEST_CRASH_BYTES:
        path.unlink()
    # Python writes to the bare descriptor while it dies; so it stays open.
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.write(descriptor, f"{datetime.now(UTC).isoformat(timespec='seconds')} process {os.getpid()}\n".encode())
    faulthandler.enable(descriptor)
    sys.excepthook = _record_uncaught
    threading.excepthook = _record_thread


def without_secrets(text: str) -> str:
    """The text as it may be written: without pictures and keys, not endless."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]} … {text[-half:]}"


class _TerminalHandler(logging.Handler):
    """Writes to what stderr is at that moment, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(f"{self.format(record)}\n")
        except (OSError, ValueError):  # the terminal was closed: the work goes on
            pass


class _FileHandler(RotatingFileHandler):
    """Rotates, and where that fails goes on writing: Windows renames no file that somebody reads."""

    def doRollover(self) -> None:  # noqa: N802  # its name in logging
        try:
            super().doRollover()
        except OSError:
            if self.stream is None:
                self.stream = self._open()


class _ReadableLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        known = _fields(record)
        ends = [f"{name} {known[name]}" for name in ENDS_SHOWN if known.get(name) is not None]
        first, *more = super().format(record).split("\n")
        shown = without_secrets("\n".join([f"{first}  [{', '.join(ends)}]" if ends else first, *more]))
        return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), shown)


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **{name: _plain(value) for name, value in _fields(record).items()},
        }
        if record.exc_info:
            fields["error"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(fields, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The run, and what `about` has put into a record of ours."""
    if record.name.split(".")[0] not in OURS:
        return dict(_known)
    return _known | {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else without_secrets(str(value))


def _install(handler: logging.Handler, level: int) -> None:
    """Let the handler take the place of the one of its kind that was there."""
    root = logging.getLogger()
    for old in [old for old in root.handlers if type(old) is type(handler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)


def _record_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    log.critical("%s: %s", kind.__name__, error, exc_info=(kind, error, trace), extra=about(Action.UNCAUGHT))


def _record_thread(failure: threading.ExceptHookArgs) -> None:
    if issubclass(failure.exc_type, SystemExit):
        return
    error = failure.exc_value or failure.exc_type()
    name = failure.thread.name if failure.thread else "a thread"
    log.critical(
        "%s ended: %s: %s",
        name,
        failure.exc_type.__name__,
        error,
        exc_info=(failure.exc_type, error, failure.exc_traceback),
        extra=about(Action.UNCAUGHT),
    )
