"""The dashboard as its own process, on a free port, with a data folder of its own."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from enrich.control.access_token import TOKEN_FILE
from tests.cli.conftest import quiet_environment

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

PROJECT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
END_SECONDS = 10.0


@dataclass(frozen=True)
class Response:
    """A response of the server; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Dashboard:
    """A running dashboard."""

    port: int
    home: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def opening_address(self) -> str:
        """The address that the command printed, with the access token."""
        return f"{self.address}/?token={(self.home / TOKEN_FILE).read_text(encoding='ascii')}"

    @cached_property
    def cookie(self) -> str:
        """The cookie of one session, as a header's value."""
        response = self.ask(self.opening_address.removeprefix(self.address), Cookie="")
        return response.headers["set-cookie"].split(";")[0]

    def sign_in(self, context: "BrowserContext") -> None:
        """Give a browser a session, as opening the printed address does."""
        context.request.get(self.opening_address, max_redirects=0)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Response:
        """Send a request with exactly this path, without normalization, and with the cookie of a session."""
        if "Cookie" not in headers:
            headers = {"Cookie": self.cookie} | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in ({"Host": f"127.0.0.1:{self.port}"} | headers).items():
                connection.putheader(name, value)
            connection.endheaders()
            response = connection.getresponse()
            body = response.read()
            return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
        finally:
            connection.close()

    def command(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run an `everyframe` command on the same library."""
        return subprocess.run(
            [sys.executable, "-m", "enrich.cli", *map(str, words)],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def environment_of(home: Path, **more: str | None) -> dict[str, str]:
    """The environment for a library in `home`, without the tester's own settings; None removes a variable."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("EVERYFRAME_", "STREAMLIT_"))}
    ours: dict[str, str | None] = {**quiet_environment(home, EVERYFRAME_KEEP_AWAKE="never"), **more}
    return others | {name: value for name, value in ours.items() if value is not None}


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(home: Path, log: Path, *, port: int | None = None, **more: str | None) -> Iterator[Dashboard]:
    """Run `everyframe dashboard` until the block ends; workers started from it keep running."""
    environment = environment_of(home, **more)
    port = port or free_port()
    command = [sys.executable, "-m", "enrich.cli", "dashboard", "--no-browser", "--port", str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, env=environment, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        ) as process,
    ):
        try:
            dashboard = Dashboard(port, home, environment)
            _wait(dashboard, process, log)
            yield dashboard
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(dashboard: Dashboard, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(encoding="utf-8", errors="replace")
        with contextlib.suppress(OSError):
            if dashboard.ask("/_stcore/health", Cookie="").status == http.HTTPStatus.OK:
                return
        time.sleep(0.1)
    raise AssertionError(f"the dashboard did not start: {log.read_text(encoding='utf-8', errors='replace')}")
