"""The command `dashboard`: it serves wherever it is called from, for this machine alone unless there is a password."""

import http.client
import os
import re
import signal
import socket
import webbrowser
from contextlib import closing, contextmanager

import psutil
import pytest

from enrich.network import free_port, is_loopback, own_names
from tests.cli.terminal import COMMAND, run_process, running, until

PASSWORD = "correct horse"  # noqa: S105  # of these tests alone


@contextmanager
def listening(port=0):
    with closing(socket.create_server(("127.0.0.1", port))) as one:
        yield one.getsockname()[1]


def unused():
    with listening() as port:
        return port


@contextmanager
def dashboard(*options, **how):
    """The command as a process, once it has said its address; gives the process and what it has said."""
    with running(COMMAND, "dashboard", "--no-browser", *options, **how) as process:
        said = []
        while not said or not said[-1].startswith("Ctrl-C"):
            line = process.stdout.readline()
            assert line, process.communicate()
            said.append(line)
        yield process, "".join(said)
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()


def status(port, path="/_stcore/health", **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def test_it_serves_from_any_folder_and_ends_with_all_it_started(tmp_path, home, monkeypatch):
    (tmp_path / "config").mkdir()
    monkeypatch.setenv("STREAMLIT_SERVER_ENABLE_CORS", "false")
    monkeypatch.setenv("EVERYFRAME_HOME", "home")  # of the folder it is called from
    port = unused()
    with dashboard("--port", str(port), cwd=tmp_path) as (process, said):
        assert said.startswith(f"EveryFrame's dashboard: http://127.0.0.1:{port}\n")
        assert status(port) == 200
        assert status(port, Host="evil.example") == 421
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        until(lambda: not any(child.is_running() for child in children), "the server has ended")
        assert process.stderr.read() == ""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_server_ends_with_the_command(how):
    with dashboard("--port", str(unused())) as (process, _):
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(how)
        assert process.wait(30) == 0
        until(lambda: not any(child.is_running() for child in children), "the server has ended")


def test_a_port_in_use_is_said_and_the_next_one_taken():
    with listening() as taken, dashboard("--port", str(taken)) as (_, said):
        port = int(re.search(r"http://127.0.0.1:(\d+)", said)[1])
        assert said.startswith(f"Port {taken} is in use, so it is {port} this time.\n")
        assert port > taken
        assert status(port) == 200


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "no-such-name.invalid"])  # noqa: S104  # refused
def test_another_address_needs_a_password(cli, address):
    cli("dashboard", "--address", address).refused(
        f"at {address} others could see your films", "`everyframe settings set dashboard_password -`"
    )


def test_with_a_password_others_may_come_in(monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", PASSWORD)
    port = unused()
    options = ("--port", str(port), "--address", "0.0.0.0", "--name", "nas.home")  # noqa: S104  # what is tested
    with dashboard(*options) as (_, said):
        assert f"http://127.0.0.1:{port}\n" in said
        assert "is not encrypted" in said
        assert status(port) == 401
        for name in ("nas.home", socket.gethostname(), "localhost"):
            assert status(port, Host=name) == 401
        assert status(port, Host="evil.example") == 421


def test_an_address_that_is_not_of_this_machine_is_one_line(cli, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", PASSWORD)
    cli("dashboard", "--address", "192.0.2.77").refused("the dashboard cannot be served at 192.0.2.77")
    cli("dashboard", "--address", "no-such-name.invalid").refused("cannot be served at no-such-name.invalid")
    cli("dashboard", "--port", "0").refused("--port", code=2)


def test_a_password_that_is_too_short_is_refused(monkeypatch):
    monkeypatch.setenv("EVERYFRAME_DASHBOARD_PASSWORD", "short")
    run_process("dashboard", "--address", "0.0.0.0", env=dict(os.environ)).refused("at least 8 characters")  # noqa: S104  # refused


def test_without_streamlit_the_command_says_what_to_install(cli, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    cli("dashboard").refused(
        "Streamlit, which serves the dashboard, is not installed", "`pip install --upgrade everyframe`"
    )


@pytest.mark.parametrize(("kind", "opened"), [(webbrowser.GenericBrowser, []), (webbrowser.Mozilla, ["http://x"])])
def test_only_a_browser_with_a_window_is_opened(monkeypatch, kind, opened):
    import sys

    said = []
    browser = kind("browser")
    monkeypatch.setattr(browser, "open", said.append)
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    sys.modules["enrich.cli.dashboard"]._open("http://x")
    assert said == opened


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("localhost", True), ("::1", True), ("[::1]", True),
        ("::ffff:127.0.0.1", True), ("", False), ("0.0.0.0", False), ("::", False), ("192.168.1.2", False),  # noqa: S104  # nothing is bound
        ("::ffff:192.168.1.2", False), ("127.0.0.1.invalid", False), ("127.0.0.1/8", False),
    ],
)  # fmt: skip
def test_which_addresses_reach_this_machine_alone(address, private):
    assert is_loopback(address) is private


def test_names_of_this_machine_are_known_by_where_it_listens():
    assert own_names("127.0.0.1") == ["127.0.0.1", "localhost", "::1"]
    everywhere = own_names("0.0.0.0")  # noqa: S104  # nothing is bound
    assert socket.gethostname().lower() in everywhere
    assert "0.0.0.0" not in everywhere  # noqa: S104  # nothing is bound
    assert "10.1.2.3" in own_names("10.1.2.3")


def test_a_free_port_is_the_first_nobody_listens_at():
    with listening() as taken:
        assert free_port("127.0.0.1", taken) > taken
    assert free_port("127.0.0.1", taken) == taken
