"""Access control of a real dashboard over HTTP and WebSockets: host names, origins, and the password."""

import base64
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.cli.conftest import quiet_environment
from tests.cli.terminal import PROJECT
from tests.waiting import PATIENCE_SECONDS, wait_until

PASSWORD = "correct horse"  # noqa: S105  # used in these tests only
STREAM = "/_stcore/stream"
FORM = "application/x-www-form-urlencoded"
PROTECTED = ["/", "/_stcore/health", STREAM, "/picture/1", "/film/1", "/source/1/1", "/upload", "/static/js/nothing.js"]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str
    seconds: float


@dataclass(frozen=True)
class Served:
    """A running dashboard."""

    port: int
    home: Path

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ask(self, path="/", *, method="GET", body=None, host=None, to="127.0.0.1", **headers) -> Answer:
        start = time.monotonic()
        connection = http.client.HTTPConnection(to, self.port, timeout=PATIENCE_SECONDS)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, {"Host": host or self.netloc, "Accept": "text/html"} | named)
            answer = connection.getresponse()
            if answer.status == http.client.SWITCHING_PROTOCOLS:
                return Answer(answer.status, {}, "", time.monotonic() - start)
            text = answer.read().decode("utf-8", errors="replace")
        finally:
            connection.close()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, text, time.monotonic() - start)

    def connect(self, **headers) -> int:
        """The status of a WebSocket handshake: 101 if it is accepted."""
        key = base64.b64encode(os.urandom(16)).decode()
        asked = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        return self.ask(
            STREAM, **(asked | {"Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": "streamlit"} | headers)
        ).status

    def log_in(self, password=PASSWORD, then="/", **headers) -> Answer:
        form = urlencode({"password": password})
        return self.ask(f"/login?{urlencode({'next': then})}", method="POST", body=form, Content_Type=FORM, **headers)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVERYFRAME_", "STREAMLIT_"))}
    return kept | quiet_environment(home, **more)


def command(port: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "streamlit", "run", str(PROJECT / "app.py"), f"--server.port={port}", *options]


@contextmanager
def dashboard(home: Path, *options: str, **more: str) -> Iterator[Served]:
    """Run `streamlit run app.py` on a library in `home`, wait until it answers, and kill it afterwards."""
    served = Served(free_port(), home)
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        command(served.port, *options), cwd=PROJECT, env=environment(home, **more), **quiet
    ) as process:
        try:
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                try:
                    served.ask("/_stcore/health")
                    break
                except OSError:
                    time.sleep(0.1)
            yield served
        finally:
            process.kill()


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard with default settings: this machine only, no password."""
    with dashboard(tmp_path_factory.mktemp("private") / "home") as served:
        yield served


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A dashboard with a password, open to other machines."""
    home = tmp_path_factory.mktemp("shared") / "home"
    options = ("--server.address=0.0.0.0", "--browser.serverAddress=127.0.0.1", "--server.allowedHosts=*")
    with dashboard(home, *options, EVERYFRAME_DASHBOARD_PASSWORD=PASSWORD) as served:
        yield served


@pytest.fixture(scope="module")
def cookie(shared: Served) -> str:
    return shared.log_in().headers["set-cookie"].split(";")[0]


def test_this_machine_needs_no_password(private):
    assert private.ask().status == 200
    assert private.ask("/_stcore/health").body == "ok"
    assert private.connect(Origin=f"http://{private.netloc}") == 101
    assert private.ask(host=f"localhost:{private.port}").status == 200


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example@127.0.0.1", "localhost:x"])
def test_foreign_host_name_is_refused(private, host, path):
    assert private.ask(path, host=host).status == 421


def test_cross_origin_requests_are_refused(private):
    for origin in (
        "http://evil.example",
        f"http://127.0.0.1:{private.port + 1}",
        f"http://localhost:{private.port}",
        "null",
    ):
        assert private.connect(Origin=origin) == 403
        assert private.ask("/picture/1", Origin=origin).status == 403
        assert private.ask("/upload", method="POST", body="x", Origin=origin).status == 403
    assert private.connect(Host="evil.example", Origin="http://evil.example") == 403


def test_embedding_is_forbidden(private):
    headers = private.ask().headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "same-origin")


@pytest.mark.parametrize("path", PROTECTED)
def test_every_path_requires_a_login(shared, path):
    answer = shared.ask(path)
    assert (answer.status, answer.body) == (303, "")
    assert answer.headers["location"].startswith("/login?next=")
    assert shared.ask(path, Accept="image/*").status == 401
    assert shared.ask(path, method="POST", body="x").status == 401
    assert shared.ask(path, Cookie="everyframe=guessed").status == 303


def test_websocket_requires_a_login(shared, cookie):
    origin = f"http://{shared.netloc}"
    assert shared.connect(Origin=origin) == 403
    assert shared.connect(Origin=origin, Cookie="everyframe=guessed") == 403
    assert shared.connect(Origin="http://evil.example", Cookie=cookie) == 403
    assert shared.connect(Origin=origin, Cookie=f"other=1; {cookie}") == 101


def test_login_page_redirects_back(shared):
    asked = shared.ask("/frames?video=3&frame=57")
    page = shared.ask(asked.headers["location"])
    assert page.status == 200
    assert '<label for="password">' in page.body
    assert "script" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    entered = shared.log_in(then="/frames?video=3&frame=57", Origin=f"http://{shared.netloc}")
    assert (entered.status, entered.headers["location"]) == (303, "/frames?video=3&frame=57")
    given = entered.headers["set-cookie"]
    assert all(word in given for word in ("everyframe=", "HttpOnly", "SameSite=lax", "Path=/"))
    opened = shared.ask("/frames?video=3", Cookie=given.split(";")[0])
    assert (opened.status, "streamlit" in opened.body.lower()) == (200, True)


@pytest.mark.parametrize(
    "then", ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nSet-Cookie: x=1", "x"]
)
def test_login_is_no_open_redirect(shared, then):
    assert shared.log_in(then=then).headers["location"] == "/"


def test_login_page_escapes_the_url(shared):
    answer = shared.ask('/login?next=/"><script>alert(1)</script>')
    assert "<script>" not in answer.body


@pytest.mark.slow
def test_wrong_passwords_are_delayed_and_serialized(shared):
    first = shared.log_in("wrong horse")
    assert (first.status, "Wrong password" in first.body) == (403, True)
    assert "set-cookie" not in first.headers
    second = shared.log_in("")
    assert 0.9 < first.seconds < second.seconds
    assert second.seconds > 1.9
    with ThreadPoolExecutor(2) as threads:
        guesses = [threads.submit(shared.log_in, "a guess") for _ in range(2)]
        ended, pending = wait(guesses, return_when=FIRST_COMPLETED)
        assert [guess.result().status for guess in ended] == [429]
        assert shared.log_in().status == 429  # not even the right one is checked
        assert [guess.result().status for guess in pending] == [403]
    assert shared.log_in().status == 303
    assert shared.log_in("wrong horse").seconds < 1.9


def test_invalid_login_requests_are_refused(shared):
    assert shared.log_in(Origin="http://evil.example").status == 403
    assert shared.ask("/login", method="PUT").status == 400
    assert shared.ask("/login", method="POST", body=b"\xff\xfe", Content_Type=FORM).status == 400
    assert shared.ask("/login", method="POST", body="password=" + "x" * 10_000, Content_Type=FORM).status == 400
    assert shared.ask("/login", method="POST", body="word=x", Content_Type=FORM).status == 400


def test_new_password_ends_old_sessions(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    file = home / "settings.toml"
    file.write_text(f'dashboard_password = "{PASSWORD}"\n', encoding="utf-8")
    with dashboard(home) as served:
        cookie = served.log_in().headers["set-cookie"].split(";")[0]
        assert served.ask("/picture/1", Cookie=cookie).status == 404
        file.write_text('dashboard_password = "another horse"\n', encoding="utf-8")
        wait_until(lambda: served.ask("/picture/1", Cookie=cookie).status == 303, "the old cookie is refused")
        file.write_text("dashboard_password = \n", encoding="utf-8")  # invalid while being edited: access stays closed
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert served.ask("/picture/1").status == 303


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104  # expected to be refused
def test_public_server_without_password_does_not_start(tmp_path, address):
    port = free_port()
    options = (f"--server.address={address}", "--browser.serverAddress=127.0.0.1")
    done = subprocess.run(
        command(port, *options),
        cwd=PROJECT,
        env=environment(tmp_path / "home"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 3
    assert f"everyframe: the dashboard would be open to other machines at {address} without a password" in done.stderr
    assert "everyframe settings set dashboard_password" in done.stderr
    assert "Traceback" not in done.stderr
