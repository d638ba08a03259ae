"""Logging: JSON in files, readable lines in the terminal, crashes, and redaction of private data."""

import json
import logging
import os
import subprocess
import sys
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from logging.handlers import RotatingFileHandler

import pytest

from enrich import logs
from enrich.errors import SettingsError
from enrich.logs import (
    Action,
    about,
    log_path,
    log_to_file,
    log_to_stderr,
    set_run,
    without_secrets,
    write_crash_report,
)
from tests.clips import numbered_clip
from tests.standin import StandIn
from tests.standin.tricks import Trick
from tests.worker.workspace import open_workspace

KEY = "sk-ant-api03-" + "Ab1_-" * 18
WEDDING = "The hidden wedding of Ottilie von Rabenstein"
log = logging.getLogger("enrich.worker.test_logs")


@pytest.fixture(autouse=True)
def same_logging():
    """Remove the handlers and restore the levels that a test changes."""
    root = logging.getLogger()
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in (None, *logs.OUR_PACKAGES)}
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    set_run(None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "worker.log"


def records(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_record_is_one_json_line_with_its_fields(path):
    log_to_file(path)
    set_run(7)
    log.warning(
        "the frame at %.1f s\nfailed", 1.5, extra=about(Action.FRAME_FAILED, video=2, frame=17, host="http://box:1")
    )
    [record] = records(path)
    written = datetime.fromisoformat(record.pop("time"))
    assert written.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert record == {
        "level": "WARNING",
        "logger": "enrich.worker.test_logs",
        "message": "the frame at 1.5 s\nfailed",
        "run": 7,
        "action": "frame_failed",
        "video": 2,
        "frame": 17,
        "host": "http://box:1",
    }


def test_records_before_a_run_have_no_run(path):
    log_to_file(path)
    log.info("the library is opened")
    set_run(1)
    log.info("run 1 began")
    assert [record.get("run") for record in records(path)] == [None, 1]


def test_terminal_line_is_short(capsys):
    log_to_stderr()
    log.info("the frame failed", extra=about(Action.FRAME_FAILED, video=2, frame=17))
    log.debug("below the level")
    line = capsys.readouterr().err
    assert line[2] == line[5] == ":"
    assert line[8:] == " INFO    the frame failed  [video 2, frame 17]\n"


def test_control_characters_are_escaped(capsys, path):
    log_to_stderr()
    log_to_file(path)
    log.info("party\x1b[2J\r.mp4", extra={"file": "\x9b31m\u202e4pm"})
    assert capsys.readouterr().err.endswith("party\\x1b[2J\\r.mp4\n")
    assert path.read_text(encoding="utf-8").rstrip("\n").isprintable()
    assert (records(path)[0]["message"], records(path)[0]["file"]) == ("party\x1b[2J\r.mp4", "\x9b31m\u202e4pm")
    report = write_crash_report(path.parent, RuntimeError("\x1b]0;x\x07\u202e"), datetime.now(UTC))
    assert "RuntimeError: \\x1b]0;x\\x07\\u202e" in report.read_text(encoding="utf-8")


def test_closed_terminal_does_not_stop_logging(monkeypatch, path):
    log_to_stderr()
    log_to_file(path)
    for stderr in (None, path.open("rb")):
        monkeypatch.setattr(sys, "stderr", stderr)
        log.info("still logging")
        if stderr is not None:
            stderr.close()
            log.info("still logging")
    assert [record["message"] for record in records(path)] == ["still logging"] * 3


def test_second_setup_replaces_the_first(path, capsys):
    for _ in range(2):
        log_to_file(path)
        log_to_stderr()
    log.info("once")
    assert len(records(path)) == 1
    assert capsys.readouterr().err.count("once") == 1


def test_other_libraries_log_warnings_only(path):
    log_to_file(path, logging.DEBUG)
    for name in ("httpx", "httpcore.http11", "ollama", "asyncio", "sqlalchemy.engine"):
        logging.getLogger(name).debug("debug of %s", name)
        logging.getLogger(name).info("info of %s", name)
        logging.getLogger(name).warning("warning of %s", name, extra={"body": "what it sends"})
    log.debug("debug of ours")
    assert [record["message"].split()[0] for record in records(path)] == ["warning"] * 5 + ["debug"]
    assert "what it sends" not in path.read_text()


def test_file_is_rotated_and_the_oldest_deleted(path, monkeypatch):
    monkeypatch.setattr(logs, "ROTATED_BYTES", 2_000)
    monkeypatch.setattr(logs, "ROTATED_FILES", 2)
    log_to_file(path)
    for number in range(60):
        log.info("line %d %s", number, "x" * 100)
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["worker.log", "worker.log.1", "worker.log.2"]
    assert all(file.stat().st_size <= 2_000 for file in path.parent.iterdir())
    assert records(path)[-1]["message"].startswith("line 59 ")


def test_failed_rotation_keeps_writing(path, monkeypatch):
    def refuse(self, source, target):
        raise PermissionError(13, "The process cannot access the file because it is being used by another process")

    monkeypatch.setattr(logs, "ROTATED_BYTES", 500)
    monkeypatch.setattr(RotatingFileHandler, "rotate", refuse)  # as on Windows while another process reads the file
    log_to_file(path)
    for number in range(20):
        log.info("line %d %s", number, "x" * 100)
    assert [record["message"].split()[1] for record in records(path)] == [str(number) for number in range(20)]


def test_undecodable_file_name_is_logged(path):
    log_to_file(path)
    [handler] = (each for each in logging.getLogger().handlers if isinstance(each, RotatingFileHandler))
    # Only to this handler: pytest stores log records, and xdist cannot transfer undecodable text.
    handler.handle(log.makeRecord(log.name, logging.WARNING, __file__, 1, "%s waits", ("caf\udce9.mp4",), None))
    [record] = records(path)
    assert record["message"].startswith("caf")


def test_unwritable_log_file_is_an_error(tmp_path):
    (tmp_path / "logs").write_text("a file in the way")
    with pytest.raises(SettingsError, match=r"cannot open the log file: .*EVERYFRAME_HOME"):
        log_to_file(tmp_path / "logs" / "worker.log")


def test_worker_and_supervisor_have_separate_files(tmp_path):
    workspace = open_workspace(tmp_path / "home")
    assert log_path(workspace.settings) == tmp_path / "home" / "logs" / "worker.log"
    assert log_path(workspace.settings, "supervisor") == tmp_path / "home" / "logs" / "supervisor.log"
    workspace.library.engine.dispose()


PRIVATE = {
    "a key": (f"401 for x-api-key {KEY}", KEY),
    "a bearer": ("header Authorization: Bearer abcdef0123456789 refused", "abcdef0123456789"),
    "a named key": ("{'api_key': 'abcd1234efgh'}", "abcd1234efgh"),
    "a password": ("postgresql+psycopg://anna:geheim@box:5432/films refused", "geheim"),
    "an image": (f"bad input: {b64encode(bytes([0xFF, 0xD8, 0xFF, 0xE0]) + bytes(300)).decode()}", "/9j/"),
    "the start of an image": ("input_value='/9j/4AAQSkZJRgABAQAAAQ...'", "/9j/4AAQ"),
    "image bytes": (f"bad input: {bytes([0xFF, 0xD8, 0xFF, 0xE0, 0, 16]) + b'JFIF'!r}", "JFIF"),
    "a key of another service": ("hf_AbCdEfGhIjKlMnOpQr is invalid", "hf_AbCd"),
    "a quoted password with spaces": ("connect(password='my geheim word', port=5432)", "geheim"),
    "a local value of a traceback": ("    password = 'geheim'\n    port = 5432", "geheim"),
    "a header as bytes": ("[(b'x-api-key', b'geheim-1'), (b'accept', b'*/*')]", "geheim"),
    "a header in JSON text": (json.dumps(json.dumps({"x-api-key": "my geheim", "a": 1})), "geheim"),
    "basic authorization": ("Authorization: Basic Z2VoZWltOmdlaGVpbQ==", "Z2VoZWlt"),
    "a cookie": ("Set-Cookie: everyframe-8501=geheim; HttpOnly", "geheim"),
    "a session": ("{'everyframe-8501': '1798655321.geheim.43de'}", "geheim"),
    "the hash of a password": ("compared with $argon2id$v=19$m=65536,t=3,p=4$ZXRY$geheim", "geheim"),
    "a token in an address": ("GET http://127.0.0.1:8501/?token=geheim123&page=2 refused", "geheim"),
    "a token in an encoded address": ("next=http%3A%2F%2Fbox%2F%3Ftoken%3Dgeheim123", "geheim"),
    "a password with a slash and an @": ("postgresql://anna:ge/heim@geheim@box:5432/films refused", "heim"),
    "a percent-encoded password": ("postgresql://anna:ge%2Fheim@box/films", "heim"),
    "an encoded address": ("url=postgresql%3A%2F%2Fanna%3Ageheim%40box%2Ffilms", "geheim"),
    "a password of a host": ("http://me:geheim@box:11434/api/chat refused", "geheim"),
    "a token as user of a host": ("https://geheim@box:11434 refused", "geheim"),
    "an option": ("everyframe dashboard --password geheim --port 1", "geheim"),
    "a variable": ("EVERYFRAME_DASHBOARD_PASSWORD=geheim everyframe", "geheim"),
    "a password in YAML": ("password: geheim", "geheim"),
    "a cut-off value": ('input_value=\'{"password": "geheim', "geheim"),
    "SQL parameters": (f"(sqlite3.Error) disk I/O\n[parameters: ('{WEDDING}',)]\n(more)", "Ottilie"),
}


@pytest.mark.expected_errors("it failed")
@pytest.mark.parametrize(("text", "private"), PRIVATE.values(), ids=PRIVATE.keys())
def test_private_data_is_redacted(path, capsys, text, private):
    log_to_file(path)
    log_to_stderr()
    log.warning("the message: %s", text, extra=about(Action.HOST_BACKING_OFF, host=text))
    try:
        float(text)
    except ValueError:
        log.exception("it failed")
    written = path.read_text() + capsys.readouterr().err
    assert written.count("the message: ") == 2
    assert written.count("ValueError: ") >= 2
    assert private not in written


def test_long_text_is_shortened(path):
    log_to_file(path)
    log.warning("%s", "word " * 100_000)
    assert len(path.read_text()) < 2 * logs.MAX_TEXT_CHARACTERS


def test_secrets_of_the_environment_are_redacted_in_any_spelling(monkeypatch):
    monkeypatch.setenv("OTHER_API_KEY", 'form less"key')
    monkeypatch.setenv("EVERYFRAME_DATABASE_URL", "postgresql://anna:s%26cret%20word@box/films")
    for text in ('form less"key', "form%20less%22key", 'form less\\"key', "s%26cret%20word", "s&cret word"):
        assert without_secrets(f"refused: {text}.") == "refused: [key]."


@pytest.mark.parametrize(
    "text",
    [
        "dashboard_password: too short: use at least 8 characters",
        "max_tokens=512, prompt tokens: 30, 12 tokens/s",
        "http://a:80/x and mail me@b.c",
        "the password is masked: enter the URL with the real password",
        "json: unexpected token: expected ',' at 7",
    ],
)
def test_sentences_about_secrets_are_kept(text):
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "part",
    ["password:", "://a:", "password='", "token=\\", "%3A%2F%2F", "postgresql", "\\", "a", "/9j/", 'key\\"', "cookie"],
)
def test_hostile_text_is_redacted_in_bounded_time(part):
    began = time.monotonic()
    without_secrets(part * 50_000)
    assert time.monotonic() - began < 10  # exponential or quadratic: minutes


def test_home_folder_is_not_named_in_files(path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna.b")
    log_to_file(path)
    log.info(
        "/home/anna.b/Videos/a.mp4, '/home/anna.b', /mnt/home/anna.b/x, /home/anna.bc", extra={"file": "/home/anna.b/x"}
    )
    [record] = records(path)
    assert record["message"] == "~/Videos/a.mp4, '~', /mnt/home/anna.b/x, /home/anna.bc"
    assert record["file"] == "~/x"


def test_log_files_and_crash_reports_are_private(tmp_path, path, monkeypatch):
    monkeypatch.setattr(logs, "ROTATED_BYTES", 500)
    monkeypatch.setattr(logs, "MAX_CRASH_REPORTS", 3)
    before = os.umask(0)
    try:
        log_to_file(path)
        for number in range(10):
            log.info("line %d %s", number, "x" * 100)
            write_crash_report(path.parent, RuntimeError("failed"), datetime.now(UTC))
    finally:
        os.umask(before)
    files = [path.parent, *path.parent.iterdir()]
    assert {"worker.log", "worker.log.1"} < {file.name for file in files}
    assert len(list(path.parent.glob("error-*.txt"))) == 3
    assert [file for file in files if file.stat().st_mode & 0o077] == []


def test_crash_report_quotes_little_of_a_reply(tmp_path):
    reply = "\n".join(["A bride and a groom."] * 1000)
    try:
        try:
            json.loads(reply)
        except ValueError as error:
            raise RuntimeError(f"not JSON: {reply}") from error
    except RuntimeError as error:
        report = write_crash_report(tmp_path, error, datetime.now(UTC))
    text = report.read_text(encoding="utf-8")
    assert text.count("bride") < 25
    assert "The above exception was the direct cause" in text
    assert "raise RuntimeError" in text


def test_line_breaks_forge_no_record_in_a_terminal(capsys):
    log_to_stderr()
    log.info("party\n12:00:00 INFO    all is well")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("party")
    assert second.startswith("  ")


@pytest.mark.parametrize(
    "text", ["/home/anna/Videos/Family/2019/Summer/Italy/Beach/party.mp4", "http://box:11434/api", "é"]
)
def test_harmless_text_is_unchanged(path, text):
    log_to_file(path)
    log.info("%s waits", text)
    assert records(path)[0]["message"] == f"{text} waits"


async def test_failing_run_logs_no_prompt_image_or_key(tmp_path, path, monkeypatch, capsys, short_pauses):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    log_to_file(path, logging.DEBUG)
    log_to_stderr(logging.DEBUG)
    clip = numbered_clip(tmp_path / "party.mp4", frames=12)
    with StandIn(parallel=4) as standin:
        workspace = open_workspace(tmp_path / "home", ollama_hosts=standin.address)
        workspace.add(clip, context=WEDDING)
        standin.play(Trick.ERROR, frames={2}, stubborn=True)
        standin.play(Trick.BROKEN_JSON, frames={4}, stubborn=True)
        standin.play(Trick.LEAKS, frames={6}, stubborn=True)
        standin.play(Trick.EMPTY, frames={8}, stubborn=True)
        summary = await workspace.enrich()
        workspace.library.engine.dispose()
        prompts = {request.prompt for request in standin.chats}
        images = [file.read_bytes() for file in workspace.frames_folder.rglob("*.jpg")]
    assert summary.counts.frames_failed
    assert summary.counts.frames_described
    written = path.read_text() + capsys.readouterr().err
    seen = records(path)
    assert {"host", "video", "frame", "run"} <= {name for record in seen for name in record}
    assert any(WEDDING in prompt for prompt in prompts)
    lines = {line for prompt in prompts for line in prompt.splitlines() if len(line) > 20}
    assert lines
    assert [line for line in lines if line in written] == []
    assert "Ottilie" not in written
    assert images
    assert not any(b64encode(image[:30]).decode() in written for image in images)
    assert "/9j/" not in written
    assert KEY not in written


UNAWAITED = """
import asyncio, gc
async def fail():
    raise RuntimeError("never awaited")
async def main():
    task = asyncio.create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
asyncio.run(main())
"""
CRASHES = {
    "main thread": ("raise RuntimeError('the plan failed')", "RuntimeError: the plan failed"),
    "thread": (
        "import threading\nthread = threading.Thread(target=lambda: 1 / 0, name='decoder')\nthread.start()",
        "decoder ended: ZeroDivisionError: division by zero",
    ),
    "unawaited task": (UNAWAITED, "Task exception was never retrieved"),
}


def run_crashing(folder, code):
    """Run code in a process that logs like a worker."""
    script = (
        "from pathlib import Path\nfrom enrich import logs\n"
        f"folder = Path({str(folder)!r})\nlogs.log_to_file(folder / 'worker.log')\nlogs.catch_crashes(folder)\n{code}"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("code", "message"), CRASHES.values(), ids=CRASHES.keys())
def test_uncaught_exception_is_logged_with_traceback(tmp_path, code, message):
    run_crashing(tmp_path, code)
    [record] = records(tmp_path / "worker.log")
    assert record["message"].startswith(message)
    assert record["level"] in ("ERROR", "CRITICAL")
    assert "Traceback" in record["error"]


def test_native_crash_leaves_a_dated_stack(tmp_path):
    for _ in range(2):
        done = run_crashing(tmp_path, "import faulthandler; faulthandler._sigabrt()")
        assert done.returncode != 0
    text = (tmp_path / "worker-crash.txt").read_text()
    assert text.count("Fatal Python error") == 2
    began = text.splitlines()[0].split()
    assert datetime.fromisoformat(began[0]).tzinfo is not None
    assert began[1] == "process"


def test_ctrl_c_is_not_logged(tmp_path):
    run_crashing(tmp_path, "raise KeyboardInterrupt")
    assert records(tmp_path / "worker.log") == []


def test_crash_file_has_a_maximum_size(tmp_path):
    (tmp_path / "worker-crash.txt").write_text("x" * (logs.MAX_CRASH_FILE_BYTES + 1))
    assert run_crashing(tmp_path, "pass").returncode == 0
    assert (tmp_path / "worker-crash.txt").stat().st_size < 100
