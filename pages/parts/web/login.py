"""The dashboard's password: a page that asks for it, and who has given it.

Who has given it holds a random cookie; the server remembers its hash, in this process alone, until it is a week old,
the password is another, or the server ends. Wrong passwords cost their sender's address time, doubled each time, and
it may have only one try in hand. Whether a form comes from our own page is looked at before. The connection is as
private as it is: without TLS the network can read along.
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
LIFE_SECONDS = 7 * 24 * 3600
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
FORGIVEN_SECONDS = 3600.0  # after which an address begins anew
MOST_KNOWN = 1000  # sessions, and addresses that failed; the oldest are forgotten
LONGEST_FORM = 4096  # bytes
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
WRONG = "That was not the password."
BUSY = "One moment: another try is being checked."
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>EveryFrame: password</title>
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
<label for="password">The password of this dashboard</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Open</button>
</form>
<p role="alert">$problem</p>
</main>
</body>
</html>
""")


class LoginSessions:
    """Who may come in. Used from the server's one event loop."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, tuple[float, bytes]] = OrderedDict()  # until when, and by which password
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._trying: set[str] = set()

    def knows(self, cookie: str | None, password: str) -> bool:
        """Whether this cookie was given to somebody who knew what is the password now."""
        until, given = self._sessions.get(_hashed(cookie or ""), (0.0, b""))
        return time.monotonic() < until and hmac.compare_digest(given, _digest(password))

    async def answer(self, request: Request, password: str) -> Response:
        """What `/login` answers: the page, or whoever typed the password is let in."""
        then = _local(request.query_params.get("next", "/"))
        if request.method in ("GET", "HEAD"):
            return _page(then)
        typed = await _typed(request) if request.method == "POST" else None
        if typed is None:
            return PlainTextResponse("This is not how to log in.", status_code=400, headers=HEADERS)
        sender = request.client.host if request.client else ""
        if sender in self._trying or len(self._trying) >= MOST_KNOWN:
            return _page(then, BUSY, status=429)
        self._trying.add(sender)
        try:
            if not hmac.compare_digest(_digest(typed), _digest(password)):
                await asyncio.sleep(self._pause(sender))
                return _page(then, WRONG, status=403)
        finally:
            self._trying.discard(sender)
        self._failures.pop(sender, None)
        return self._let_in(then, password, is_secure=request.url.scheme == "https")

    def _let_in(self, then: str, password: str, *, is_secure: bool) -> Response:
        cookie = secrets.token_urlsafe(32)
        self._sessions[_hashed(cookie)] = (time.monotonic() + LIFE_SECONDS, _digest(password))
        while len(self._sessions) > MOST_KNOWN:
            self._sessions.popitem(last=False)
        answer = RedirectResponse(then, status_code=303, headers=HEADERS)
        answer.set_cookie(COOKIE, cookie, max_age=LIFE_SECONDS, httponly=True, samesite="lax", secure=is_secure)
        return answer

    def _pause(self, sender: str) -> float:
        """How long this wrong password takes; counts it."""
        now = time.monotonic()
        since, count = self._failures.pop(sender, (now, 0))
        count = 0 if now - since > FORGIVEN_SECONDS else count
        self._failures[sender] = (now, count + 1)
        while len(self._failures) > MOST_KNOWN:
            self._failures.popitem(last=False)
        return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(count, 10)))


def cookie_of(scope: Scope) -> str | None:
    """The cookie a request or a connection carries."""
    for name, value in scope["headers"]:
        if name == b"cookie":
            for part in value.decode("latin-1").split(";"):
                key, _, content = part.strip().partition("=")
                if key == COOKIE:
                    return str(content)
    return None


def to_login(request: Request) -> Response:
    """Where a request is sent that carries no cookie: a person to the page, a program nowhere."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        then = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"{PATH}?next={quote(then, safe='/')}", status_code=303, headers=HEADERS)
    return PlainTextResponse("Open the dashboard and log in.", status_code=401, headers=HEADERS)


def _page(then: str, problem: str = "", *, status: int = 200) -> Response:
    action = escape(f"{PATH}?next={quote(then, safe='/')}")
    return HTMLResponse(PAGE.substitute(action=action, problem=problem), status_code=status, headers=HEADERS)


async def _typed(request: Request) -> str | None:
    """The password in a form; None if it is no such form."""
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_FORM:
                return None
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except (ClientDisconnect, ValueError):
        return None
    return next(iter(fields.get("password", [])), None)


def _local(then: str) -> str:
    """An address on this server: no other may be smuggled in."""
    is_local = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable() and "\\" not in then
    return then if is_local else "/"


def _hashed(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", errors="replace")).hexdigest()


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", errors="replace")).digest()
