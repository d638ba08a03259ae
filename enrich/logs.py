"""Logging: one logger per module, and records tagged with an `action` from a closed list.

A terminal gets one readable line per record, a log file one JSON object per line, each with the run, video, frame and
host where known. Images, keys, passwords and tokens are redacted from everything that is written, and so are crash
reports and the errors of the command line; prompts are never logged. Only one process writes to a file: worker and
supervisor have one each.
"""

import faulthandler
import json
import logging
import os
import re
import sys
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

from enrich.errors import SettingsError
from enrich.private_files import make_private_folder, private_opener
from enrich.settings import Settings, environment_with
from enrich.wording import json_text, printable

ROTATED_BYTES = 5_000_000
ROTATED_FILES = 5
MAX_CRASH_FILE_BYTES = 1_000_000
MAX_TEXT_CHARACTERS = 10_000  # so that a host's endless reply does not fill the log
SEARCHED_CHARACTERS = 100_000  # for secrets, at most
MAX_MESSAGE_CHARACTERS = 400  # of an exception in a traceback: it may quote a reply
MAX_CRASH_REPORTS = 20
OUR_PACKAGES = ("enrich", "db")  # other libraries log what they send, so only their warnings are written
TERMINAL_FIELDS = ("run", "video", "frame", "host")  # appended to a line in the terminal
_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
_NAME = (  # of a secret
    r"(?:api[_-]?key|passw(?:or)?d|passphrase|pwd|secret|authorization|credentials?|private[_-]?key"
    r"|(?:(?<![a-z])|(?<=%3F)|(?<=%26))token(?!s)|(?<=[?&;])key|(?<=[?&;])auth)"
)
_QUOTED = (  # the first alternative: quotes that JSON has escaped
    r"""(?:\\{1,8}"(?:(?!\\{1,8}").){0,300}\\{1,8}"|"(?:[^"\\]|\\.){0,300}"|'(?:[^'\\]|\\.){0,300}')"""
)
_PLAIN = r"[^\s'\",;&})\]]"
_ENDS_LINE = r"(?=\s*$|[,;}\])'\"\\]|\s+[\[(])"
_SECRETS = (
    (re.compile(r"\b(?:sk-[\w-]{8,}|gh[a-z]_\w{16,}|hf_\w{16,}|AKIA\w{12,}|xox[a-z]-[\w-]{8,})"), "[key]"),
    (re.compile(r"(?i)\b(bearer|basic)(?:\s+|%20|\+)[\w.+/=~%-]{8,}"), r"\1 [key]"),
    (re.compile(r"(?i)\b((?:set-)?cookie\\{0,8}['\"]?\s*[:,=]\s*)[^\r\n]+"), r"\1[key]"),
    # A session of the dashboard, and the hash of its password.
    (re.compile(r"\b(everyframe-\d{1,5}['\"]?\s*[=:,]\s*['\"]?)(?!\[key)[\w.-]+"), r"\1[key]"),
    (re.compile(r"\$argon2[a-z]{1,2}\$[\w$=,+/-]+"), "[key]"),
    # In quotes: api_key='…', {\"password\": \"…\"}, (b'x-api-key', b'…').
    (re.compile(rf"(?i)({_NAME}\w{{0,20}}\\{{0,8}}['\"]?\s*(?:[:=]|=>|%3[AD]|(?<=['\"]),)\s*b?){_QUOTED}"), r"\1[key]"),
    (
        re.compile(rf"(?i)({_NAME}\w{{0,20}}\\{{0,8}}['\"]?\s*(?:=|%3D)\s*\\{{0,8}}['\"]?)(?!\[key){_PLAIN}{{1,300}}"),
        r"\1[key]",
    ),
    (re.compile(rf"(?i)(--[\w-]{{0,30}}{_NAME}\s+)\S{{1,300}}"), r"\1[key]"),
    # After a colon, unless it is a sentence, such as "password: too short".
    (
        re.compile(
            rf"(?im)({_NAME}\w{{0,20}}\\{{0,8}}['\"]?\s*:\s*\\{{0,8}}['\"]?)(?!\[key)"
            rf"(?:{_PLAIN}{{0,200}}(?![a-z:.]){_PLAIN}{{1,200}}|{_PLAIN}{{1,200}}{_ENDS_LINE})"
        ),
        r"\1[key]",
    ),
    # In addresses. The password of a database may hold a slash or an "@".
    (re.compile(r"(?i)((?:sql|postgres)\w{0,10}(?:\+\w{1,20})?://[^/\s:@'\"]{0,200}):[^\s'\"]{1,300}@"), r"\1:[key]@"),
    (re.compile(r"(://[^/\s:@'\"]{0,200}):[^/\s'\"]{1,300}@"), r"\1:[key]@"),
    (re.compile(r"(?i)(https?://)[^/\s:@'\"]{1,300}@"), r"\1[key]@"),
    (re.compile(r"(?i)(%3A%2F%2F(?:(?!%3A)[^\s&]){0,200}%3A)[^\s&]{1,300}?(%40)"), r"\1[key]\2"),
    (re.compile(r"/9j/[A-Za-z0-9+/]{12,}=*|iVBORw0KGgo[A-Za-z0-9+/]*=*|[A-Za-z0-9+/]{400,}=*"), "[image]"),
    (re.compile(r"\\{1,8}xff\\{1,8}xd8\\{1,8}xff[^\s'\"]*"), "[image]"),
    (re.compile(r"\[parameters: [^\n]*"), "[parameters omitted]"),  # SQL values: the context of prompts, replies
)
_SECRET_VARIABLE = re.compile(r"(?i)(api_?key|token|secret|passw(or)?d)$")  # an environment variable
_URL_PASSWORD = re.compile(r"^[\w+.-]+://[^/\s:@]*:(\S+)@")  # of a variable that is an address
_SHORTEST_SECRET = 6  # characters: a shorter value would be found in harmless words
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
        make_private_folder(path.parent)
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
    make_private_folder(folder)
    path = folder / f"{program}-crash.txt"
    if path.exists() and path.stat().st_size > MAX_CRASH_FILE_BYTES:
        path.unlink()
    # faulthandler writes to the bare descriptor while the process dies, so it is never closed.
    descriptor = private_opener(str(path), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{datetime.now(UTC).isoformat(timespec='seconds')} process {os.getpid()}\n".encode())
    faulthandler.enable(descriptor)
    sys.excepthook = _record_uncaught
    threading.excepthook = _record_thread


def write_crash_report(folder: Path, error: BaseException, now: datetime) -> Path | None:
    """Write the traceback of an unexpected error to a private file and return it; None if it cannot be written.

    Only the newest reports are kept.
    """
    path = folder / f"error-{now:%Y%m%dT%H%M%S%f}-{os.getpid()}.txt"
    try:
        make_private_folder(folder)
        with open(path, "w", encoding="utf-8", errors="backslashreplace", opener=private_opener) as file:
            file.write(printable(_traceback_text(error)))
    except OSError:
        return None
    for old in sorted(folder.glob("error-*.txt"))[:-MAX_CRASH_REPORTS]:
        with suppress(OSError):
            old.unlink()
    return path


def without_secrets(text: str) -> str:
    """The text with images, keys, passwords and tokens redacted, shortened to a maximum length."""
    half = MAX_TEXT_CHARACTERS // 2
    if len(text) > SEARCHED_CHARACTERS:  # what is cut in two here is left out below
        text = f"{text[: SEARCHED_CHARACTERS // 2]} … {text[-SEARCHED_CHARACTERS // 2 :]}"
    for secret in _known_secrets():
        text = text.replace(secret, "[key]")
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_TEXT_CHARACTERS else f"{text[:half]} … {text[-half:]}"


def _known_secrets() -> list[str]:
    """The secrets in this environment as they may be spelled, longest first."""
    given = environment_with()
    found = {value for name, value in given.items() if _SECRET_VARIABLE.search(name)}
    for value in given.values():
        if password := _URL_PASSWORD.search(value):
            found |= {password[1], unquote(password[1])}
    spellings = {
        spelled
        for value in found
        for spelled in (value, quote(value, safe=""), json.dumps(value)[1:-1], repr(value)[1:-1])
    }
    return sorted((value for value in spellings if len(value) >= _SHORTEST_SECRET), key=len, reverse=True)


def _for_file(text: str) -> str:
    """The text for a file that people may publish: without secrets, and without the name of the home folder."""
    text = without_secrets(text)
    try:
        names = [re.escape(name) for name in Path.home().parts]
    except RuntimeError:  # the user has no home folder
        return text
    if len(names) == 1:
        return text
    root = names[0].rstrip("/").removesuffix(r"\\")
    home = rf"(?<![\w.~/\\-]){root}[\\/]+" + r"[\\/]+".join(names[1:]) + r"(?![\w.-])"
    return re.sub(home, "~", text, flags=re.IGNORECASE if sys.platform == "win32" else 0)


def _traceback_text(error: BaseException) -> str:
    """The traceback without secrets; the messages of exceptions are shortened, since they may quote a model's reply."""
    parts = map(_for_file, traceback.format_exception(error))  # redacted first: half an address shows its password
    short = [part if len(part) <= MAX_MESSAGE_CHARACTERS else f"{part[:MAX_MESSAGE_CHARACTERS]} …\n" for part in parts]
    return without_secrets("".join(short))


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

    def _open(self) -> TextIOWrapper:
        return open(self.baseFilename, "a", encoding=self.encoding, errors=self.errors, opener=private_opener)

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
        lines = [f"{first}  [{', '.join(suffix)}]" if suffix else first, *(f"  {line}" for line in more)]
        return printable(without_secrets("\n".join(lines)))  # only a record begins at the margin

    def formatException(self, ei: Any) -> str:  # noqa: N802  # its name in logging
        return _traceback_text(ei[1])


class _JsonLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": _for_file(record.getMessage()),
            **{name: _plain(value) for name, value in _fields(record).items()},
        }
        if record.exc_info:
            fields["error"] = _traceback_text(record.exc_info[1]) if record.exc_info[1] is not None else ""
        return json_text(json.dumps(fields, ensure_ascii=False))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The process fields, and for our own records the fields from `about`."""
    if record.name.split(".")[0] not in OUR_PACKAGES:
        return dict(_process_fields)
    return _process_fields | {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else _for_file(str(value))


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
