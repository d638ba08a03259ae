"""Access control of a real dashboard over HTTP and WebSockets: host names, origins, the token and the password."""

import base64
import http.client
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from enrich.control.access_token import TOKEN_FILE
from enrich.errors import ControlError
from pages.parts.web import access, login
from pages.parts.web.login import Credentials, has_session
from tests.cli.conftest import quiet_environment
from tests.cli.terminal import PROJECT
from tests.waiting import PATIENCE_SECONDS, wait_until

PASSWORD = "correct horse"  # noqa: S105  # used in these tests only
STREAM = "/_stcore/stream"
FORM = "application/x-www-form-urlencoded"
HEALTH = "/_stcore/health"
PROTECTED = [
    "/", "/frames?video=1", "/_stcore/host-config", "/_stcore/metrics", STREAM, "/picture/1", "/film/1", "/source/1/1",
    "/upload", "/static/js/nothing.js", "/favicon.png", "/media/x.jpg", "/component/x/y.js", "/no/such/path",
]  # fmt: skip


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
    def token(self) -> str:
        return (self.home / TOKEN_FILE).read_text(encoding="ascii")

    @property
    def cookie(self) -> str:
        """The cookie of a new session, as a header's value."""
        return self.ask(f"/?token={self.token}").headers["set-cookie"].split(";")[0]

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

    def paste(self, token, then="/", **headers) -> Answer:
        form = urlencode({"token": token})
        return self.ask(f"/login?{urlencode({'next': then})}", method="POST", body=form, Content_Type=FORM, **headers)

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
def dashboard(home: Path, *options: str, port: int | None = None, **more: str) -> Iterator[Served]:
    """Run `streamlit run app.py` on a library in `home`, wait until it answers, and kill it afterwards."""
    served = Served(port or free_port(), home)
    output = home.with_name("output.txt").open("wb")
    quiet = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.PIPE}
    with (
        output,
        subprocess.Popen(
            command(served.port, *options), cwd=PROJECT, env=environment(home, **more), **quiet
        ) as process,
    ):
        try:
            wait_until(lambda: answers(served), "the dashboard answers", process)
            yield served
        finally:
            process.kill()


def answers(served: Served) -> bool:
    with suppress(OSError):
        served.ask(HEALTH)
        return True
    return False


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


@pytest.fixture(scope="module")
def own_cookie(private: Served) -> str:
    return private.cookie


@pytest.mark.parametrize("path", PROTECTED)
def test_every_path_needs_a_session(private, path):
    page = private.ask(path)
    assert page.status == 401
    assert "Open the address that <code>everyframe dashboard</code> printed" in page.body
    assert '<label for="token">' in page.body
    assert "<script" not in page.body
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert "set-cookie" not in page.headers
    for how in ({"Accept": "*/*"}, {"method": "POST", "body": "x"}, {"method": "HEAD", "Accept": "*/*"}):
        plain = private.ask(path, **how)
        assert (plain.status, "<html" in plain.body) == (401, False)


def test_health_check_needs_no_session(private):
    answer = private.ask(HEALTH)
    assert (answer.status, answer.body) == (200, "ok")


@pytest.mark.parametrize("cookie", [None, "everyframe=x", "other=1", "a=b; c"], ids=str)
def test_websocket_needs_a_session(private, cookie):
    headers = {} if cookie is None else {"Cookie": cookie}
    assert private.connect(Origin=f"http://{private.netloc}", **headers) == 403
    assert private.connect(**headers) == 403


def test_address_with_the_token_opens_a_session(private):
    entered = private.ask(f"/frames?video=3&token={private.token}&frame=57")
    assert (entered.status, entered.headers["location"]) == (303, "/frames?video=3&frame=57")
    assert entered.headers["referrer-policy"] == "no-referrer"
    assert entered.headers["cache-control"] == "no-store"
    given = entered.headers["set-cookie"]
    assert given.startswith(f"everyframe-{private.port}=")
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(given.split("; "))
    assert "secure" not in given.lower()  # the connection is not encrypted
    assert private.token not in given
    cookie = f"other=1; {given.split(';')[0]}"
    assert private.ask(Cookie=cookie).status == 200
    assert private.ask("/picture/1", Cookie=cookie).status == 404
    assert private.ask(host=f"localhost:{private.port}", Cookie=cookie).status == 200
    assert private.connect(Origin=f"http://{private.netloc}", Cookie=cookie) == 101
    again = private.ask(f"/?token={private.token}", Cookie=cookie)
    assert (again.status, again.headers["location"]) == (303, "/")  # the address does not stay in the history


@pytest.mark.parametrize("token", ["", "guessed", "%C3%A4", "x" * 5000])
def test_wrong_token_opens_nothing(private, token):
    answer = private.ask(f"/?token={token}")
    assert answer.status == 401
    assert "This token is not valid" in answer.body
    assert "set-cookie" not in answer.headers
    assert private.ask("/picture/1", Accept="*/*", Authorization=f"token {token}").status == 401


def test_token_or_its_address_can_be_pasted(private):
    origin = f"http://{private.netloc}"
    for text in (private.token, f" {origin}/?token={private.token} \n"):
        entered = private.paste(text, then="/frames?video=3", Origin=origin)
        assert (entered.status, entered.headers["location"]) == (303, "/frames?video=3")
        assert private.ask(Cookie=entered.headers["set-cookie"].split(";")[0]).status == 200
    wrong = private.paste("guessed")
    assert (wrong.status, "This token is not valid" in wrong.body) == (401, True)
    assert private.paste(private.token, then="//evil.example").headers["location"] == "/"
    assert private.paste(private.token, Origin="http://evil.example").status == 403
    assert private.log_in().status == 400  # there is no password


def test_started_server_prints_the_address_with_the_token(private):
    said = private.home.with_name("output.txt").read_text(encoding="utf-8")
    assert f"Dashboard: http://{private.netloc}/?token={private.token}\n" in said


def test_token_of_another_start_stays_valid_with_its_sessions(private, own_cookie):
    with dashboard(private.home) as second:
        assert second.ask("/picture/1", Cookie=own_cookie).status == 401  # a session of another port
        renamed = own_cookie.replace(str(private.port), str(second.port), 1)
        assert second.ask("/picture/1", Cookie=renamed).status == 401
        both = f"{own_cookie}; {second.cookie}"
    assert private.ask("/picture/1", Cookie=both).status == 404  # neither dashboard logs the other out
    with dashboard(private.home, port=second.port) as restarted:
        assert restarted.ask("/picture/1", Cookie=both).status == 404


@pytest.fixture
def at_home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def scope_of(kind: str, credentials: Credentials) -> dict[str, Any]:
    """A request for the server at port 8501, with the cookie of a session."""
    cookie = f"everyframe-8501={credentials.new_session(8501)}".encode()
    headers = [(b"host", b"127.0.0.1:8501"), (b"cookie", cookie)]
    return {"type": kind, "path": "/", "server": ("127.0.0.1", 8501), "headers": headers, "method": "GET"}


async def test_new_token_ends_open_websockets(at_home, monkeypatch):
    monkeypatch.setattr(access, "REFRESH_SECONDS", 0)
    heard, sent = [], []

    async def app(_scope, receive, send):
        while (message := await receive())["type"] == "websocket.receive":
            heard.append(message["text"])
            if message["text"] == "1":
                (at_home / TOKEN_FILE).unlink()
        heard.append(message["type"])

    messages = iter([{"type": "websocket.receive", "text": text} for text in "123"])

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    await access.LoginMiddleware(app)(scope_of("websocket", access.read_credentials()), receive, send)
    assert heard == ["1", "websocket.disconnect"]
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_error_of_the_library_is_printable(at_home, monkeypatch):
    def unreadable(*_):
        raise ControlError("\udcff\x1b[31m cannot be written")

    monkeypatch.setattr(access, "read_credentials", unreadable)
    sent = []

    async def send(message):
        sent.append(message)

    await access.LoginMiddleware(None)({"type": "http", "headers": []}, None, send)
    assert sent[0]["status"] == 503
    assert sent[1]["body"].endswith(b"\\udcff\\x1b[31m cannot be written")


def test_session_needs_its_port_its_token_and_time(at_home, monkeypatch):
    mine, other = access.read_credentials(), Credentials("another token", "", "")
    session = mine.new_session(8501)
    assert mine.is_session(session, 8501)
    assert not mine.is_session(session, 8502)
    assert not other.is_session(session, 8501)
    assert not Credentials(mine.token, PASSWORD, "").is_session(session, 8501)
    later, rest = str(int(session.partition(".")[0]) + 1), session.partition(".")[2]
    for changed in (f"{later}.{rest}", session[:-1], f"x{session}", "", ".", "..", "1.2.3", "é.ü.ä"):
        assert not mine.is_session(changed, 8501)
    over = time.time() + mine.session_seconds
    monkeypatch.setattr(time, "time", lambda: over)
    assert not mine.is_session(session, 8501)


def test_cookies_of_other_servers_do_not_hide_the_session(at_home):
    mine = access.read_credentials()
    scope = scope_of("http", mine)
    scope["headers"] += [(b"cookie", b"everyframe-8501=planted; everyframe-8502=x")]
    scope["headers"].reverse()
    assert has_session(scope, mine, 8501)


@pytest.mark.parametrize(
    ("addresses", "clients"),
    [
        (["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"], {"loopback"}),
        (["2001:db8::1", "2001:db8::2:3"], {"2001:db8::/64"}),
        (["192.0.2.1", "::ffff:192.0.2.1"], {"192.0.2.1"}),
        (["fe80::1%eth0", "fe80::2"], {"fe80::/64"}),
        (["testclient"], {"testclient"}),
    ],
)
def test_attempts_are_counted_by_client(addresses, clients):
    requests = [Request({"type": "http", "client": (address, 1), "headers": []}) for address in addresses]
    assert {login._client(request) for request in requests} == clients


async def test_attempts_of_all_clients_are_limited(monkeypatch):
    passwords = login.PasswordLogin()
    monkeypatch.setattr(passwords, "_attempts", {str(number) for number in range(login.MOST_ATTEMPTS)})
    monkeypatch.setattr(login, "is_password", lambda *_: pytest.fail("checked"))

    async def receive():
        return {"type": "http.request", "body": b"password=x"}

    scope = {"type": "http", "method": "POST", "path": "/login", "query_string": b"", "headers": []}
    answer = await passwords.respond(Request(scope | {"client": ("192.0.2.9", 1)}, receive), Credentials("", "x", "x"))
    assert answer.status_code == 429


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
        "http://[",
    ):
        assert private.connect(Origin=origin) == 403
        assert private.ask("/picture/1", Origin=origin).status == 403
        assert private.ask("/upload", method="POST", body="x", Origin=origin).status == 403
        assert private.ask(f"/?token={private.token}", Origin=origin).status == 403
    assert private.connect(Host="evil.example", Origin="http://evil.example") == 403


def test_embedding_is_forbidden(private):
    headers = private.ask(Cookie=private.cookie).headers
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize("path", [*PROTECTED, HEALTH])
def test_every_path_requires_a_login(shared, path):
    answer = shared.ask(path)
    assert (answer.status, answer.body) == (303, "")
    assert answer.headers["location"].startswith("/login?next=")
    assert shared.ask(path, Accept="image/*").status == 401
    assert shared.ask(path, method="POST", body="x").status == 401
    assert shared.ask(path, Cookie=f"everyframe-{shared.port}=guessed").status == 303


def test_websocket_requires_a_login(shared, cookie):
    origin = f"http://{shared.netloc}"
    assert shared.connect(Origin=origin) == 403
    assert shared.connect(Origin=origin, Cookie=f"everyframe-{shared.port}=guessed") == 403
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
    assert all(word in given for word in (f"everyframe-{shared.port}=", "HttpOnly", "SameSite=lax", "Path=/"))
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


def test_token_does_not_replace_the_password(shared):
    answer = shared.ask(f"/?token={shared.token}")
    assert (answer.status, answer.headers["location"].startswith("/login")) == (303, True)
    assert "set-cookie" not in answer.headers
    assert shared.token not in answer.headers["location"]
    assert shared.paste(shared.token).status == 400


def test_new_password_ends_old_sessions(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    file = home / "settings.toml"
    file.write_text(f'# mine\ndashboard_password = "{PASSWORD}"\n', encoding="utf-8")
    with dashboard(home) as served:
        stored = file.read_text(encoding="utf-8")  # a password written by hand is replaced by its hash
        assert re.fullmatch(r'# mine\ndashboard_password = "\$argon2id\$.*"\n', stored)
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
