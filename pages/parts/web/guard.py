"""Who may ask the dashboard for anything: this machine's own browser, under the names it goes by.

Streamlit checks the name only where pages open their connection; pictures, films and uploads must check it too, or any
web site could reach them through a name that it has pointed at this machine. From other machines, and wherever a
password is set, nothing is answered before the password was given: without one, a server that others can reach does
not even start.
"""

import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from enrich.errors import SettingsError
from enrich.network import is_loopback
from enrich.settings import dashboard_password
from pages.parts.web.login import PATH, LoginSessions, cookie_of, to_login

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
PASSWORD_SECONDS = 2.0  # the settings are read as often
POLICY_VIOLATED = 1008  # a WebSocket's close code
NEEDS_PASSWORD = (
    "others could see your films and change your library at {address}: set a password first, with "  # noqa: S105  # none
    "`everyframe settings set dashboard_password -`"
)


def guards() -> list[Middleware]:
    """What every request passes before all else."""
    return [Middleware(HostMiddleware), Middleware(LoginMiddleware)]


class HostMiddleware:
    """Answers only requests to one of `server.allowedHosts`, and says that no other site may embed the dashboard.

    What a page asks for must come from a page of the very same address: any other site, and any other server of this
    machine, is somebody else. (Streamlit would look up this machine's public address first, out in the internet.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not is_host_allowed(hosts[0]):
            await _refuse(scope, receive, send, PlainTextResponse("This is not the dashboard's address.", 421))
            return
        if any(urlsplit(origin).netloc.lower() != hosts[0].lower() for origin in _headers(scope, b"origin")):
            await _refuse(scope, receive, send, PlainTextResponse("Another site may not ask for this.", 403))
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_guarded)


class LoginMiddleware:
    """Answers only who has given the password, if there is one; without one, only this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._door = LoginSessions()
        self._password: str | None = None  # None: not known
        self._read_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        password = self._current()
        if scope["type"] == "lifespan":
            await self._begin(scope, receive, send)
            return
        bound = scope.get("server")
        if not password:
            if bound is not None and is_loopback(str(bound[0])):
                await self._app(scope, receive, send)
            else:
                await _refuse(scope, receive, send, PlainTextResponse("The dashboard has no password.", 403))
        elif scope["type"] == "http" and scope["path"] == PATH:
            request = Request(scope, receive)
            await (await self._door.answer(request, password))(scope, receive, send)
        elif self._door.knows(cookie_of(scope), password):
            await self._app(scope, receive, send)
        else:
            refusal = to_login(Request(scope)) if scope["type"] == "http" else PlainTextResponse("", 401)
            await _refuse(scope, receive, send, refusal)

    async def _begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the server, unless others could reach it without a password."""
        address = str(st.get_option("server.address") or "")
        if self._password or is_loopback(address):
            await self._app(scope, receive, send)
            return
        await receive()
        said = NEEDS_PASSWORD.format(address=address or "every address of this machine")
        sys.stderr.write(f"everyframe: {said}\n")
        await send({"type": "lifespan.startup.failed", "message": ""})

    def _current(self) -> str | None:
        """The password as it is now. If it cannot be read, what it was stays: nothing opens by accident."""
        if time.monotonic() - self._read_at >= PASSWORD_SECONDS:
            with suppress(SettingsError):
                self._password = dashboard_password()
            self._read_at = time.monotonic()
        return self._password


def _headers(scope: Scope, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Answer a request so; close a connection."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        await _close(receive, send)


async def _close(receive: Receive, send: Send) -> None:
    """Refuse a WebSocket before it is open: the browser gets 403."""
    await receive()
    await send({"type": "websocket.close", "code": POLICY_VIOLATED})
