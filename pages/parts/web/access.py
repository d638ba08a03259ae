"""Access control for every HTTP request and WebSocket of the dashboard, as ASGI middleware.

Streamlit checks the Host header only when a page opens its WebSocket. Images, videos and uploads need the same check:
otherwise any web site could read them by pointing a domain at this machine (DNS rebinding).

Without a password, only this machine is served, and a server that other machines could reach refuses to start. Other
users of this machine can reach the server too, so a session is needed, which the access token opens. With a password,
the password opens it, on this machine too.
"""

import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from pathlib import Path

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from enrich.control.access_token import (
    HEALTH_PATH,
    access_token,
    opening_address,
    record_dashboard,
    withdraw_dashboard,
)
from enrich.errors import EveryFrameError, SettingsError
from enrich.logs import without_secrets
from enrich.network import is_loopback
from enrich.settings import dashboard_password, data_folder, source_variable
from enrich.settings_file import PASSWORD, hash_stored_password, password_hash
from enrich.wording import one_line, printable
from pages.parts.web.login import (
    PATH,
    Credentials,
    PasswordLogin,
    enter_with_token,
    has_session,
    login_required,
    server_port,
    token_in_address,
    token_login,
)

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address that opens the dashboard holds its token
    "X-Content-Type-Options": "nosniff",
}
REFRESH_SECONDS = 2.0  # how often the token and the password are read again
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
        if any(origin.lower().partition("://")[2] != hosts[0].lower() for origin in _headers(scope, b"origin")):
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
    """Requires a session for everything but the login itself; without a password, serves only this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._passwords = PasswordLogin()
        self._known: Credentials | None = None  # None: not read yet
        self._folder: Path | None = None  # where they were read
        self._read_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._start(scope, receive, send)
            return
        try:
            credentials = self._credentials()
        except EveryFrameError as error:
            await _refuse(
                scope, receive, send, PlainTextResponse(f"The dashboard cannot be used: {printable(error)}", 503)
            )
            return
        bound = scope.get("server")
        if not credentials.password and (bound is None or not is_loopback(str(bound[0]))):
            await _refuse(scope, receive, send, PlainTextResponse(NO_PASSWORD, 403))
        elif scope["type"] == "http":
            await self._http(scope, receive, send, credentials)
        elif has_session(scope, credentials, server_port(scope)):
            await self._app(scope, self._while_logged_in(scope, receive, send), send)
        else:
            await _close(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send, credentials: Credentials) -> None:
        request = Request(scope, receive)
        answer: Response | None = None
        token = None if credentials.password else token_in_address(request)
        if token is not None and not credentials.is_token(token):
            credentials = self._credentials(is_new=True)  # the command may just have made a new one
        if scope["path"] == PATH:
            password = credentials.password
            answer = await (self._passwords.respond if password else token_login)(request, credentials)
        elif token is not None and credentials.is_token(token):
            answer = enter_with_token(request, credentials)
        elif not has_session(scope, credentials, server_port(scope)):
            is_open = scope["path"] == HEALTH_PATH and not credentials.password  # it only says "ok"
            answer = None if is_open else login_required(request, credentials)
        await (answer or self._app)(scope, receive, send)

    def _while_logged_in(self, scope: Scope, receive: Receive, send: Send) -> Receive:
        """Receive a WebSocket's messages, and close it when its session has ended."""

        async def checked() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            with suppress(EveryFrameError):
                if has_session(scope, self._credentials(), server_port(scope)):
                    return message
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}

        return checked

    async def _start(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the server, unless other machines could reach it without a password, or there is no token."""
        address = str(st.get_option("server.address") or "")
        problem = ""
        try:
            if not self._credentials().password and not is_loopback(address):
                problem = NEEDS_PASSWORD.format(address=address or "every address of this machine")
        except EveryFrameError as error:
            problem = str(error)
        if not problem:
            await self._app(scope, receive, send)
            return
        await receive()
        sys.stderr.write(f"everyframe: {one_line(without_secrets(problem), None)}\n")
        await send({"type": "lifespan.startup.failed", "message": ""})

    def _credentials(self, *, is_new: bool = False) -> Credentials:
        """The current token and password. While they cannot be read, the last known ones stay in force.

        Raises EveryFrameError if they could not be read yet.
        """
        is_old = time.monotonic() - self._read_at >= REFRESH_SECONDS or self._folder != data_folder()
        if self._known is None or is_old or is_new:
            try:
                self._known = read_credentials(self._known)
                self._folder = data_folder()
            except EveryFrameError:
                if self._known is None:
                    raise
            self._read_at = time.monotonic()
        return self._known


def read_credentials(known: Credentials | None = None) -> Credentials:
    """The current token and password. `known`: the last ones. Raises ControlError if there can be no token.

    A password in the settings file is replaced by its hash. While the settings cannot be read, the last password stays.
    """
    password = known.password if known else ""
    with suppress(SettingsError):
        password = dashboard_password()
        if password and source_variable(PASSWORD) is None and (known is None or password != known.password):
            with suppress(SettingsError):  # the file cannot be written
                hash_stored_password()
            password = dashboard_password()
    return Credentials(access_token(), password, _hash_of(password))


@lru_cache(maxsize=1)
def _hash_of(password: str) -> str:
    return password_hash(password) if password else ""


@asynccontextmanager
async def announced(_app: object) -> AsyncIterator[None]:
    """While the server runs: its address is printed, and the command `everyframe dashboard` finds it."""
    address, port = str(st.get_option("server.address") or ""), int(st.get_option("server.port"))
    record_dashboard(address, port)
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    credentials = read_credentials()
    token = None if credentials.password else credentials.token
    sys.stdout.write(f"Dashboard: {opening_address(address, port, token, scheme)}\n")
    sys.stdout.flush()
    try:
        yield
    finally:
        withdraw_dashboard(os.getpid())


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
