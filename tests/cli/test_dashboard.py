"""The command `dashboard`: serves from any folder, and only on this machine unless there is a password."""

import http.client
import os
import re
import signal
import socket
import stat
import sys
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from enrich.control.access_token import (
    OPENING_FILE,
    RECORD_FILE,
    TOKEN_FILE,
    RunningDashboard,
    access_token,
    record_dashboard,
    running_dashboard,
)
from enrich.errors import ControlError
from enrich.network import free_port, is_loopback, own_names
from enrich.process import this_process
from tests.cli.terminal import COMMAND, run_process, running
from tests.waiting import wait_until

PASSWORD = "correct horse"  # noqa: S105  # of these tests only


@contextmanager
def listening(port=0):
    with closing(socket.create_server(("127.0.0.1", port))) as one:
        yield one.getsockname()[1]


def unused():
    with listening() as port:
        return port


@contextmanager
def dashboard(*options, **how):
    """The command in a separate process, once the dashboard is up; yields the process and its output."""
    with running(COMMAND, "dashboard", "--no-browser", *options, **how) as process:
        said = []
        while not said or not said[-1].startswith("Press Ctrl-C"):
            line = process.stdout.readline()
            assert line, process.communicate()
            said.append(line)
        try:
            yield process, "".join(said)
        finally:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()


def status(port, path="/_stcore/health", **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def test_serves_from_any_folder_and_stops_its_children(tmp_path, home, monkeypatch):
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
    monkeypatch.setenv("EVERYFRAME_HOME", "home")  # relative to the working directory
    port = unused()
    with dashboard("--port", str(port), cwd=tmp_path) as (process, said):
        token = (home / TOKEN_FILE).read_text(encoding="ascii")
        assert said.startswith(f"Dashboard: http://127.0.0.1:{port}/?token={token}\n")
        assert status(port) == 200
        assert status(port, "/") == 401
        assert status(port, f"/?token={token}") == 303
        assert status(port, Host="evil.example") == 421
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        wait_until(lambda: not any(child.is_running() for child in children), "the server has ended")
        assert process.stderr.read() == ""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_server_ends_with_the_command(how):
    with dashboard("--port", str(unused())) as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        assert process.wait(30) == 0
        wait_until(lambda: not any(child.is_running() for child in children), "the server has ended")


def test_port_in_use_falls_back_to_the_next():
    with listening() as taken, dashboard("--port", str(taken)) as (_, said):
        port = int(re.search(r"http://127.0.0.1:(\d+)", said)[1])
        assert said.startswith(f"Port {taken} is in use; using {port} instead.\n")
        assert port > taken
        assert status(port) == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "no-such-name.invalid"])  # noqa: S104  # refused
def test_public_address_needs_a_password(cli, address):
    cli("dashboard", "--address", address).refused(
        f"listening on {address} would let others see your videos", "`everyframe settings set dashboard_password -`"
    )


def test_password_allows_other_devices(monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", PASSWORD)
    port = unused()
    options = ("--port", str(port), "--address", "0.0.0.0", "--name", "nas.home")  # noqa: S104  # the tested option
    with dashboard(*options) as (_, said):
        assert f"http://127.0.0.1:{port}\n" in said
        assert "is not encrypted" in said
        assert status(port) == 401
        for name in ("nas.home", socket.gethostname(), "localhost"):
            assert status(port, Host=name) == 401
        assert status(port, Host="evil.example") == 421


def test_foreign_address_is_a_one_line_error(cli, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", PASSWORD)
    cli("dashboard", "--address", "192.0.2.77").refused("cannot serve the dashboard at 192.0.2.77")
    cli("dashboard", "--address", "no-such-name.invalid").refused("cannot serve the dashboard at no-such-name.invalid")
    cli("dashboard", "--port", "0").refused("--port", code=2)


def test_short_password_is_refused(monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", "short")
    run_process("dashboard", "--address", "0.0.0.0", env=dict(os.environ)).refused("at least 8 characters")  # noqa: S104  # refused


@pytest.mark.parametrize("url", ["nonsense", "postgresql://host:abc/x"])
def test_opens_despite_an_invalid_database_url(home, url):
    home.mkdir(exist_ok=True)
    (home / "settings.toml").write_text(f'database_url = "{url}"\n', encoding="utf-8")
    port = unused()
    with dashboard("--port", str(port)) as (process, _):
        assert status(port) == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr.read().startswith("everyframe: EVERYFRAME_DATABASE_URL cannot be used: ")


def test_missing_streamlit_names_the_install_command(cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    cli("dashboard").refused(
        "Streamlit, which serves the dashboard, is not installed", "`pip install --upgrade everyframe`"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="another program opens browsers on Windows")
def test_second_start_opens_the_running_dashboard(home, tmp_path):
    port, calls = unused(), tmp_path / "calls"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$@" >> "{calls}"\n', encoding="utf-8")
    browser.chmod(0o700)
    environment = os.environ | {"BROWSER": f"{browser} %s &", "DISPLAY": ":9"}
    with dashboard("--port", str(port)) as (process, said):
        again = run_process("dashboard", env=environment)
        assert (again.code, again.err) == (0, "")
        assert again.out.startswith("The dashboard is already running.\n")
        assert said.startswith(again.out.splitlines()[1])
        wait_until(calls.exists, "the browser was started")
        page = home / OPENING_FILE
        assert calls.read_text(encoding="utf-8") == f"{page.as_uri()}\n"  # other users see this, but not the token
        assert f"http://127.0.0.1:{port}/?token=" in page.read_text(encoding="utf-8")
        assert {stat.S_IMODE(file.stat().st_mode) for file in home.iterdir() if file.is_file()} == {0o600}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert [file.name for file in home.iterdir() if file.name.startswith("dashboard")] == [TOKEN_FILE]


@pytest.mark.parametrize(
    ("options", "is_reused"),
    [
        ([], True),
        (["--port", "9000"], True),
        (["--port", "9001"], False),
        (["--address", "::1"], False),
        (["--name", "nas.home"], False),
    ],
    ids=str,
)
def test_running_dashboard_is_reused_if_it_fits(cli, home, monkeypatch, options, is_reused):
    def start(*_):
        raise ControlError("a second one was started")

    running = RunningDashboard(this_process(), "127.0.0.1", 9000)
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    monkeypatch.setattr(sys.modules["enrich.cli.dashboard"], "running_dashboard", lambda: running)
    monkeypatch.setattr(sys.modules["enrich.cli.dashboard"], "_served", start)
    said = cli("dashboard", "--no-browser", *options)
    assert ("already running" in said.out, "second one" in said.err) == (is_reused, not is_reused)


def test_ended_dashboard_is_not_taken_for_a_running_one(home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    home.mkdir(exist_ok=True)
    with listening() as port:  # accepts connections, and never answers
        monkeypatch.setattr("enrich.control.access_token.ANSWER_SECONDS", 0.1)
        record_dashboard("127.0.0.1", port)
        assert running_dashboard() is None
    for record in ("", "{}", "[]", "null", '{"process": {"pid": 1}}', '{"process": 1, "address": "", "port": "x"}'):
        (home / RECORD_FILE).write_text(record, encoding="utf-8")
        assert running_dashboard() is None


def test_exposed_or_damaged_token_is_replaced(home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    file, token = home / TOKEN_FILE, access_token()
    assert access_token() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for damage in ("", token[:-1], token * 2, "ä"):
        file.write_text(damage, encoding="utf-8")
        assert access_token() not in (token, damage)
    token = access_token()
    file.chmod(0o644)
    if sys.platform != "win32":
        assert access_token() != token
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = access_token()
        file.chmod(0o644)
        monkeypatch.setattr(Path, "chmod", lambda *_: None)  # as on a file system without modes
        assert access_token() == token


def test_concurrent_starts_get_the_same_token(home, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    with ThreadPoolExecutor(8) as threads:
        found = {start.result() for start in [threads.submit(access_token) for _ in range(8)]}
    assert found == {access_token()}
    assert [file.name for file in home.iterdir()] == [TOKEN_FILE]


def test_token_that_cannot_be_stored_is_an_error(cli, home, monkeypatch):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file in place of the folder", encoding="utf-8")
    cli("dashboard").refused("the dashboard's access token cannot be stored in", "Make sure that you may write")


@pytest.mark.parametrize(("kind", "is_opened"), [(webbrowser.GenericBrowser, False), (webbrowser.Mozilla, True)])
def test_only_graphical_browsers_are_opened(monkeypatch, home, kind, is_opened):
    monkeypatch.setenv("EVERYFRAME_HOME", str(home))
    home.mkdir(exist_ok=True)
    said = []
    browser = kind("browser")
    monkeypatch.setattr(browser, "open", said.append)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    show = sys.modules["enrich.cli.dashboard"]._show
    show("http://x", None, is_opened=True)
    show("http://x?token=1", "1", is_opened=True)
    show("http://x", None, is_opened=False)
    assert said == ["http://x", (home / OPENING_FILE).as_uri()] * is_opened


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True),
        ("::ffff:127.0.0.1", True), ("", False), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False),  # noqa: S104  # nothing is bound
        ("::ffff:192.168.1.2", False), ("127.0.0.1.invalid", False), ("127.0.0.1/8", False),
    ],
)  # fmt: skip
def test_loopback_addresses_are_recognized(address, private):
    assert is_loopback(address) is private


def test_own_names_depend_on_the_bind_address():
    assert own_names("127.0.0.1") == ["127.0.0.1", "localhost", "::1"]
    everywhere = own_names("0.0.0.0")  # noqa: S104  # nothing is bound
    assert socket.gethostname().lower() in everywhere
    assert "0.0.0.0" not in everywhere  # noqa: S104  # nothing is bound
    assert "10.1.2.3" in own_names("10.1.2.3")


def test_first_free_port_is_chosen():
    with listening() as taken:
        assert free_port("127.0.0.1", taken) > taken
    assert free_port("127.0.0.1", taken) == taken
