"""Logging: one logger per module, and records tagged with an `action` from a closed list.

A terminal gets one readable line per record, a log file one JSON object per line, each with the run, video, frame and
host where known. Images, keys and passwords are redacted from everything that is written; prompts are never logged.
Only one process writes to a file: worker and supervisor have one each.
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
MAX_CRASH_FILE_BYTES = 1_000_000
MAX_TEXT_CHARACTERS = 10_000  # so that a host's endless reply does not fill the log
OUR_PACKAGES = ("enrich", "db")  # other libraries log what they send, so only their warnings are written
TERMINAL_FIELDS = ("run", "video", "frame", "host")  # appended to a line in the terminal
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_SECRETS = (
    (re.compile(r"\bsk-[\w-]{8,}"), "[key]"),
    (re.compile(r"(?i)\b(bearer|basic) +[\w.+/=~-]{8,}"), r"\1 [key]"),
    (re.compile(r"(?i)\b((?:api[_-]?key|password)['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&}]+"), r"\1[key]"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), r"\1:[key]@"),
    (re.compile(r"/9j/[A-Za-z0-9+/]{12,}=*|iVBORw0KGgo[A-Za-z0-9+/]*=*|[A-Za-z0-9+/]{400,}=*"), "[image]"),
    (re.compile(r"\\+xff\\+xd8\\+xff[^\s'\"]*"), "[image]"),
    (re.compile(r"\[parameters: [^\n]*"), "[parameters omitted]"),  # SQL values: the context of prompts, replies
)
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would act on them
_process_fields: dict[str, Any] = {}  # in every record of this process

log = logging.getLogger(__name__)


class Action(StrEnum):
    """The event that a log record reports."""

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
    DATABASE_FULL = "database_full"
    DATABASE_FAILED = "database_failed"
    SLEEP_INHIBITOR_CHANGED = "sleep_inhibitor_changed"
    BATCH_COLLECTED = "batch_collected"
    BATCH_WAITING = "batch_waiting"
    UNCAUGHT = "uncaught"


def about(action: Action, **fields: Any) -> dict[str, Any]:
    """The `extra` argument of a logging call: an action and its fields."""
    return {"action": action.value, **fields}


def set_run(run_id: int | None) -> None:
    """Add the run to every record of this process from now on."""
    _process_fields["run"] = run_id


def log_path(settings: Settings, program: str = "worker") -> Path:
    """The log file of the worker or the supervisor."""
    return settings.home / "logs" / f"{program}.log"


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log to stderr, one readable line per record; from other libraries only warnings."""
    handler = _TerminalHandler()
    handler.setFormatter(_ReadableLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    _install(handler, level)


def log_to_file(path: Path, level: int = logging.INFO) -> None:
    """Log to a rotating file, one JSON object per line; from other libraries only warnings.

    Raises SettingsError if the file cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _FileHandler(
            path, maxBytes=ROTATED_BYTES, backupCount=ROTATED_FILES, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise SettingsError(f"cannot open the log file: {error}. Check EVERYFRAME_HOME") from error
    handler.setFormatter(_JsonLine())
    _install(handler, level)


def catch_crashes(folder: Path, program: str = "worker") -> None:
    """Record uncaught exceptions in the log, and crashes of native code in `<program>-crash.txt`.

    asyncio itself logs exceptions of tasks that are never awaited.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{program}-crash.txt"
    if path.exists() and path.stat().st_size > MAX_CRASH_FILE_BYTES:
        path.unlink()
    # faulthandler writes to the bare descriptor while the process dies, so it is never closed.
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.write(descriptor, f"{datetime.now(UTC).isoformat(timespec='seconds')} process {os.getpid()}\n".encode())
    faulthandler.enable(descriptor)
    sys.excepthook = _record_uncaught
    threading.excepthook = _record_thread


def without_secrets(text: str) -> str:
    """The text with images, keys and passwords redacted, shortened to a maximum length."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    half = MAX_TEXT_CHARACTERS // 2
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:half]} … {text[-half:]}"


class _TerminalHandler(logging.Handler):
    """Writes to the current `sys.stderr`, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if sys.stderr is not None:
                sys.stderr.write(f"{self.format(record)}\n")
        except (OSError, ValueError):  # the terminal was closed: keep working
            pass


class _FileHandler(RotatingFileHandler):
    """Keeps writing to the same file when rotation fails: Windows cannot rename a file that another process reads.

    A record that cannot be written, for example on a full disk, is dropped: it must not end the run.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # its name in logging
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def doRollover(self) -> None:  # noqa: N802  # its name in logging
        try:
            super().doRollover()
        except OSError:
            if self.stream is None:
                self.stream = self._open()


class _ReadableLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        suffix = [f"{name} {fields[name]}" for name in TERMINAL_FIELDS if fields.get(name) is not None]
        first, *more = super().format(record).split("\n")
        shown = without_secrets("\n".join([f"{first}  [{', '.join(suffix)}]" if suffix else first, *more]))
        return _CONTROL_CHARACTERS.sub(lambda match: match[0].encode("unicode_escape").decode(), shown)


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
    """The process fields, and for our own records the fields from `about`."""
    if record.name.split(".")[0] not in OUR_PACKAGES:
        return dict(_process_fields)
    return _process_fields | {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else without_secrets(str(value))


def _install(handler: logging.Handler, level: int) -> None:
    """Add the handler to the root logger, replacing an earlier one of the same type."""
    root = logging.getLogger()
    for old in [old for old in root.handlers if type(old) is type(handler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in OUR_PACKAGES:
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
