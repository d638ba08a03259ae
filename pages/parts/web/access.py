"""Access control for every HTTP request and WebSocket of the dashboard, as ASGI middleware.

Streamlit checks the Host header only when a page opens its WebSocket. Images, videos and uploads need the same check:
otherwise any web site could read them by pointing a domain at this machine (DNS rebinding).

Without a password, only this machine is served, and a server that other machines could reach refuses to start. With a
password, every request needs a login cookie, from this machine too.
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
from pages.parts.web.login import PATH, LoginSessions, cookie_of, login_required

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
PASSWORD_REFRESH_SECONDS = 2.0  # how often the settings are read again
POLICY_VIOLATION = 1008  # WebSocket close code
NEEDS_PASSWORD = (
    "the dashboard would be open to other machines at {address} without a password; "  # noqa: S105  # a message
    "set one first: `everyframe settings set dashboard_password -`"
)
NO_PASSWORD = "Access from other computers needs a dashboard password, and none is set."  # noqa: S105  # a message


def access_middleware() -> list[Middleware]:
    """The checks that every request passes, in order: host and origin, then login."""
    return [Middleware(HostMiddleware), Middleware(LoginMiddleware)]


class HostMiddleware:
    """Rejects requests for a host not in `server.allowedHosts`, and cross-origin ones; forbids embedding.

    The Origin header must match the Host header exactly, so other sites and other servers on this machine are rejected.
    (Streamlit's own origin check would first query the internet for this machine's public address.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not is_host_allowed(hosts[0]):
            await _refuse(
                scope,
                receive,
                send,
                PlainTextResponse("The dashboard does not answer to this host name.", 421),
            )
            return
        if any(urlsplit(origin).netloc.lower() != hosts[0].lower() for origin in _headers(scope, b"origin")):
            await _refuse(scope, receive, send, PlainTextResponse("Cross-origin requests are not allowed.", 403))
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class LoginMiddleware:
    """Requires the login cookie if a password is set; without a password, serves only this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._sessions = LoginSessions()
        self._password: str | None = None  # None: not read yet
        self._read_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        password = self._current_password()
        if scope["type"] == "lifespan":
            await self._start(scope, receive, send)
            return
        bound = scope.get("server")
        if not password:
            if bound is not None and is_loopback(str(bound[0])):
                await self._app(scope, receive, send)
            else:
                await _refuse(scope, receive, send, PlainTextResponse(NO_PASSWORD, 403))
        elif scope["type"] == "http" and scope["path"] == PATH:
            request = Request(scope, receive)
            await (await self._sessions.respond(request, password))(scope, receive, send)
        elif self._sessions.is_logged_in(cookie_of(scope), password):
            await self._app(scope, receive, send)
        else:
            refusal = login_required(Request(scope)) if scope["type"] == "http" else PlainTextResponse("", 401)
            await _refuse(scope, receive, send, refusal)

    async def _start(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the server, unless other machines could reach it without a password."""
        address = str(st.get_option("server.address") or "")
        if self._password or is_loopback(address):
            await self._app(scope, receive, send)
            return
        await receive()
        problem = NEEDS_PASSWORD.format(address=address or "every address of this machine")
        sys.stderr.write(f"everyframe: {problem}\n")
        await send({"type": "lifespan.startup.failed", "message": ""})

    def _current_password(self) -> str | None:
        """The current password. While the settings cannot be read, the last known one stays in force."""
        if time.monotonic() - self._read_at >= PASSWORD_REFRESH_SECONDS:
            with suppress(SettingsError):
                self._password = dashboard_password()
            self._read_at = time.monotonic()
        return self._password


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _refuse(scope: Scope, receive: Receive, send: Send, answer: Response) -> None:
    """Send this answer to an HTTP request; close a WebSocket."""
    if scope["type"] == "http":
        await answer(scope, receive, send)
    else:
        await _close(receive, send)


async def _close(receive: Receive, send: Send) -> None:
    """Reject a WebSocket before its handshake completes: the browser gets 403."""
    await receive()
    await send({"type": "websocket.close", "code": POLICY_VIOLATION})
