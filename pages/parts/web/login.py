"""The login page and the login sessions of a dashboard with a password.

A login sets a random cookie, of which the server keeps only the hash, in memory. A session ends after a week, when the
password changes, or when the server stops. Each wrong password delays its client address, twice as long each time, and
an address can have only one attempt in progress. The access middleware has already checked the form's origin. Nothing
here encrypts the connection: without TLS, the network can read the password.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from html import escape
from string import Template
from urllib.parse import parse_qs, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

PATH = "/login"
COOKIE = "everyframe"
SESSION_SECONDS = 7 * 24 * 3600
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
FAILURE_RESET_SECONDS = 3600.0  # after this long without a failure, an address starts at the first delay again
MOST_ENTRIES = 1000  # sessions, and addresses with failures; the oldest are dropped
MOST_FORM_BYTES = 4096
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
WRONG = "Wrong password. Try again."
BUSY = "Another login attempt is in progress. Wait a moment and try again."
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · EveryFrame</title>
<style>
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0; }
main { width: min(20rem, 90vw); }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { padding: 0.5rem; margin-top: 0.5rem; }
</style>
</head>
<body>
<main>
<h1>EveryFrame</h1>
<form method="post" action="$action">
<label for="password">Dashboard password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button>
</form>
<p role="alert">$problem</p>
</main>
</body>
</html>
""")


class LoginSessions:
    """The logged-in sessions and the failed attempts. Not thread-safe: used on the server's event loop only."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # expiry, password digest
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # time of the last one, count
        self._attempts: set[str] = set()  # addresses with an attempt in progress

    def is_logged_in(self, cookie: str | None, password: str) -> bool:
        """Whether the cookie belongs to a session that has not expired and was opened with the current password."""
        expires_at, digest = self._sessions.get(_hash_cookie(cookie or ""), (0.0, b""))
        return time.monotonic() < expires_at and hmac.compare_digest(digest, _digest(password))

    async def respond(self, request: Request, password: str) -> Response:
        """The response to `/login`: the login page for GET, a login attempt for POST."""
        then = _local_path(request.query_params.get("next", "/"))
        if request.method in ("GET", "HEAD"):
            return _page(then)
        typed = await _posted_password(request) if request.method == "POST" else None
        if typed is None:
            return PlainTextResponse("Invalid login request. Use the login page.", status_code=400, headers=HEADERS)
        address = request.client.host if request.client else ""
        if address in self._attempts or len(self._attempts) >= MOST_ENTRIES:
            return _page(then, BUSY, status=429)
        self._attempts.add(address)
        try:
            if not hmac.compare_digest(_digest(typed), _digest(password)):
                await asyncio.sleep(self._delay_seconds(address))
                return _page(then, WRONG, status=403)
        finally:
            self._attempts.discard(address)
        self._failures.pop(address, None)
        return self._open_session(then, password, is_secure=request.url.scheme == "https")

    def _open_session(self, then: str, password: str, *, is_secure: bool) -> Response:
        cookie = secrets.token_urlsafe(32)
        self._sessions[_hash_cookie(cookie)] = (time.monotonic() + SESSION_SECONDS, _digest(password))
        while len(self._sessions) > MOST_ENTRIES:
            self._sessions.popitem(last=False)
        response = RedirectResponse(then, status_code=303, headers=HEADERS)
        response.set_cookie(COOKIE, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="lax", secure=is_secure)
        return response

    def _delay_seconds(self, address: str) -> float:
        """Record a wrong password, and return the delay before its response."""
        now = time.monotonic()
        failed_at, count = self._failures.pop(address, (now, 0))
        count = 0 if now - failed_at > FAILURE_RESET_SECONDS else count
        self._failures[address] = (now, count + 1)
        while len(self._failures) > MOST_ENTRIES:
            self._failures.popitem(last=False)
        return float(min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(count, 10)))


def cookie_of(scope: Scope) -> str | None:
    """The login cookie of an HTTP request or WebSocket, if any."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, content = part.strip().partition("=")
                if key == COOKIE:
                    return str(content)
    return None


def login_required(request: Request) -> Response:
    """The response to a request without a session: browsers are redirected to the login page, others get 401."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{PATH}?next={quote(then, safe='/')}", status_code=303, headers=HEADERS)
    return PlainTextResponse("Login required. Log in with a browser first.", status_code=401, headers=HEADERS)


def _page(then: str, problem: str = "", *, status: int = 200) -> Response:
    action = escape(f"{PATH}?next={quote(then, safe='/')}")
    return HTMLResponse(PAGE.substitute(action=action, problem=problem), status_code=status, headers=HEADERS)


async def _posted_password(request: Request) -> str | None:
    """The password in a submitted login form; None if the body is not a valid form."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_FORM_BYTES:
                return None
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except (ClientDisconnect, ValueError):
        return None
    return next(iter(fields.get("password", [])), None)


def _local_path(then: str) -> str:
    """A path on this server to redirect to; anything else becomes `/`, so the login is not an open redirect."""
    is_local = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable() and "\\" not in then
    return then if is_local else "/"


def _hash_cookie(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", errors="replace")).hexdigest()


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", errors="replace")).digest()
