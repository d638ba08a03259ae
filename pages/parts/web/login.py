"""Login to the dashboard: with its access token on this computer, with the password wherever one is set.

A login sets a cookie that is bound to the server's port and authenticated with the token and the password. The server
stores no session, so an open tab survives a restart. A session ends when its time is over, and all of them end when the
token or the password changes. The token's address is left at once: the browser keeps neither it nor a referrer.

Each wrong password delays its client address, twice as long each time, and an address can have only one attempt in
progress. Of all addresses together, few attempts are in progress. The access middleware has already checked the form's
origin. Nothing here encrypts the connection: without TLS, the network can read the password.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from html import escape
from string import Template
from urllib.parse import parse_qs, parse_qsl, quote, urlencode

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import Scope

from enrich.settings_file import is_password

PATH = "/login"
TOKEN_FIELD = "token"  # noqa: S105  # its name, not its value
DAY_SECONDS = 24 * 3600
TOKEN_SESSION_SECONDS = 30 * DAY_SECONDS
PASSWORD_SESSION_SECONDS = 7 * DAY_SECONDS
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
FAILURE_RESET_SECONDS = 3600.0  # after this long without a failure, an address starts at the first delay again
MOST_ENTRIES = 1000  # addresses with failures; the oldest are dropped
MOST_ATTEMPTS = 20  # in progress, of all addresses
HASHING_THREADS = 2  # each takes 64 MiB
IPV6_NETWORK_BITS = 64  # one client has them all
MOST_FORM_BYTES = 4096
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would send the form with the origin `null`
}
LEAVING = HEADERS | {"Referrer-Policy": "no-referrer"}  # of a redirect from an address that may hold the token
WRONG = "Wrong password. Try again."
BUSY = "Another login attempt is in progress. Wait a moment and try again."
WRONG_TOKEN = "This token is not valid. Run `everyframe dashboard` and open the address that it prints."  # noqa: S105  # a message
# In short lines, since the dialog in which Streamlit shows it is narrow.
NEEDS_TOKEN = "Open the address that\n`everyframe dashboard` printed, or run\n`everyframe dashboard` to open it again."  # noqa: S105  # a message
NEEDS_LOGIN = "Login required. Log in with a browser first."
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Log in · EveryFrame</title>
<style>
:root { color-scheme: light dark; --text: #161511; --page: #fdfcfa; --code: #f3f0ea; --field: #fff; --line: #8a857b;
  --accent: #0f6a62; --focus: #0f6a62; --problem: #9c2f20; }
@media (prefers-color-scheme: dark) {
  :root { --text: #f0ece3; --page: #191815; --code: #24221e; --field: #24221e; --line: #8d877c;
    --accent: #1b7d74; --focus: #7fd4c9; --problem: #f09a88; }
}
body { font: 1rem/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0;
  color: var(--text); background: var(--page); }
main { width: min(28rem, 100vw - 3rem); padding-block: 1.5rem; box-sizing: border-box; }
h1 { margin: 0 0 1rem; }
code { font-size: 0.95em; padding: 0.1em 0.3em; border-radius: 4px; background: var(--code); white-space: nowrap; }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
label { margin-top: 1.5rem; }
input, button { padding: 0.5rem 0.75rem; margin-top: 0.5rem; border-radius: 8px; }
input { color: inherit; background: var(--field); border: 1px solid var(--line); }
button { color: #fff; background: var(--accent); border: 0; cursor: pointer; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
[role=alert]:not(:empty) { color: var(--problem); margin-block: 1rem 0; }
</style>
</head>
<body>
<main>
<h1>EveryFrame</h1>
$introduction
<form method="post" action="$action">
$field
</form>
<p role="alert">$problem</p>
</main>
</body>
</html>
""")
LOGIN_FORM = """<label for="password">Dashboard password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Log in</button>"""
OPENING_TEXT = """<p>Only the user who started this dashboard can open it.</p>
<p>Open the address that <code>everyframe dashboard</code> printed, or run <code>everyframe dashboard</code> (or
EveryFrame's launcher) to open it again.</p>"""
OPENING_FORM = """<label for="token">Or paste the address or its token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button type="submit">Open the dashboard</button>"""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What opens the dashboard. With a password, the token opens nothing; it only authenticates the sessions."""

    token: str
    password: str  # as it is set, which may be its hash already; empty: no password
    password_hash: str

    @property
    def session_seconds(self) -> int:
        return PASSWORD_SESSION_SECONDS if self.password else TOKEN_SESSION_SECONDS

    def is_token(self, given: str) -> bool:
        """Whether this is the token, in constant time."""
        return not self.password and hmac.compare_digest(_bytes(given), _bytes(self.token))

    def new_session(self, port: int) -> str:
        """The value of a new session's cookie, for the server at this port."""
        content = f"{int(time.time()) + self.session_seconds}.{secrets.token_urlsafe(16)}"
        return f"{content}.{self._authentication(port, content)}"

    def is_session(self, cookie: str, port: int) -> bool:
        """Whether a cookie was given out by `new_session` for this port and these credentials, and is not over."""
        content, _, authentication = cookie.rpartition(".")
        if not hmac.compare_digest(_bytes(self._authentication(port, content)), _bytes(authentication)):
            return False
        return time.time() < int(content.partition(".")[0])

    def _authentication(self, port: int, content: str) -> str:
        key = hashlib.sha256(_bytes(f"everyframe session\n{self.token}\n{self.password}")).digest()
        return hmac.new(key, _bytes(f"{port}\n{content}"), hashlib.sha256).hexdigest()


class PasswordLogin:
    """Logins with the password, and the failed attempts. Not thread-safe: used on the server's event loop only."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()  # time of the last one, count
        self._attempts: set[str] = set()  # addresses with an attempt in progress
        self._threads: CapacityLimiter | None = None

    async def respond(self, request: Request, credentials: Credentials) -> Response:
        """The response to `/login`: the login page for GET, a login attempt for POST."""
        then = _local_path(request.query_params.get("next", "/"))
        if request.method in ("GET", "HEAD"):
            return _page(then, LOGIN_FORM)
        typed = await _posted(request, "password")
        if typed is None:
            return _invalid()
        address = _client(request)
        if address in self._attempts or len(self._attempts) >= MOST_ATTEMPTS:
            return _page(then, LOGIN_FORM, problem=BUSY, status=429)
        self._attempts.add(address)
        try:
            if not await self._is_right(typed, credentials.password_hash):
                await asyncio.sleep(self._delay_seconds(address))
                return _page(then, LOGIN_FORM, problem=WRONG, status=403)
        finally:
            self._attempts.discard(address)
        self._failures.pop(address, None)
        return _enter(request, credentials, then)

    async def _is_right(self, typed: str, password_hash: str) -> bool:
        self._threads = self._threads or CapacityLimiter(HASHING_THREADS)
        return await run_sync(is_password, typed, password_hash, limiter=self._threads)

    def _delay_seconds(self, address: str) -> float:
        """Record a wrong password, and return the delay before its response."""
        now = time.monotonic()
        failed_at, count = self._failures.pop(address, (now, 0))
        count = 0 if now - failed_at > FAILURE_RESET_SECONDS else count
        self._failures[address] = (now, count + 1)
        while len(self._failures) > MOST_ENTRIES:
            self._failures.popitem(last=False)
        return float(min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(count, 10)))


async def token_login(request: Request, credentials: Credentials) -> Response:
    """The response to `/login` without a password: the page that asks for the token, or a login with it."""
    then = _local_path(request.query_params.get("next", "/"))
    if request.method in ("GET", "HEAD"):
        return _page(then, OPENING_FORM, OPENING_TEXT)
    typed = await _posted(request, TOKEN_FIELD)
    if typed is None:
        return _invalid()
    pasted = re.search(r"[?&]token=([\w-]+)", typed)
    if not credentials.is_token(pasted[1] if pasted else typed.strip()):
        return _page(then, OPENING_FORM, OPENING_TEXT, problem=WRONG_TOKEN, status=401)
    return _enter(request, credentials, then)


def token_in_address(request: Request) -> str | None:
    """The token in the address of a page; None if there is none."""
    return request.query_params.get(TOKEN_FIELD) if request.method in ("GET", "HEAD") else None


def enter_with_token(request: Request, credentials: Credentials) -> Response:
    """Open a session for a request with the right token in its address, and redirect to the address without it."""
    return _enter(request, credentials, _address_without_token(request))


def has_session(scope: Scope, credentials: Credentials, port: int) -> bool:
    """Whether an HTTP request or WebSocket carries the cookie of a session.

    A server at another port can set cookies for this host too: one that is not ours does not hide ours.
    """
    return any(credentials.is_session(cookie, port) for cookie in _cookies(scope, cookie_name(port)))


def cookie_name(port: int) -> str:
    """The cookie's name. Browsers send cookies to all ports of a host: each dashboard has one of its own."""
    return f"everyframe-{port}"


def login_required(request: Request, credentials: Credentials) -> Response:
    """The response to a request without a session: a page that says how to get one, or 401."""
    is_page = request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
    if not is_page:
        # As JSON, since Streamlit shows the user of an open tab no other response to its reconnecting.
        return JSONResponse(NEEDS_LOGIN if credentials.password else NEEDS_TOKEN, 401, headers=HEADERS)
    then = _address_without_token(request)
    if credentials.password:
        return RedirectResponse(f"{PATH}?next={quote(then, safe='/')}", status_code=303, headers=HEADERS)
    problem = WRONG_TOKEN if token_in_address(request) is not None else ""
    return _page(then, OPENING_FORM, OPENING_TEXT, problem=problem, status=401)


def server_port(scope: Scope) -> int:
    """The port at which the server received a request."""
    bound = scope.get("server")
    return int(bound[1] or 0) if bound else 0


def _enter(request: Request, credentials: Credentials, then: str) -> Response:
    port = server_port(request.scope)
    response = RedirectResponse(then, status_code=303, headers=LEAVING)
    response.set_cookie(
        cookie_name(port),
        credentials.new_session(port),
        max_age=credentials.session_seconds,
        httponly=True,
        samesite="lax",  # not strict: browsers would withhold it after the redirect from the page that opens them
        secure=request.url.scheme == "https",
    )
    return response


def _page(then: str, field: str, introduction: str = "", *, problem: str = "", status: int = 200) -> Response:
    action = escape(f"{PATH}?next={quote(then, safe='/')}")
    problem = re.sub(r"`([^`]*)`", r"<code>\1</code>", problem)
    content = PAGE.substitute(introduction=introduction, action=action, field=field, problem=problem)
    return HTMLResponse(content, status_code=status, headers=HEADERS)


def _invalid() -> Response:
    return PlainTextResponse("Invalid login request. Use the login page.", status_code=400, headers=HEADERS)


async def _posted(request: Request, field: str) -> str | None:
    """A field of a submitted form; None if the body is not a valid form with this field."""
    if request.method != "POST":
        return None
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > MOST_FORM_BYTES:
                return None
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=10)
    except (ClientDisconnect, ValueError):
        return None
    return next(iter(fields.get(field, [])), None)


def _address_without_token(request: Request) -> str:
    """The path and the query of a request, as a path on this server to redirect to."""
    query = parse_qsl(request.url.query, keep_blank_values=True)
    kept = urlencode([(name, value) for name, value in query if name != TOKEN_FIELD])
    return _local_path(request.url.path + (f"?{kept}" if kept else ""))


def _local_path(then: str) -> str:
    """A path on this server to redirect to; anything else becomes `/`, so the login is not an open redirect."""
    is_local = then.startswith("/") and not then.startswith(("//", "/\\")) and then.isprintable() and "\\" not in then
    return then if is_local else "/"


def _client(request: Request) -> str:
    """The client whose attempts are counted. All loopback addresses are one client, and so is an IPv6 network."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_loopback:
        return "loopback"
    if address.version == 4:  # noqa: PLR2004  # IPv4
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_NETWORK_BITS), strict=False))


def _cookies(scope: Scope, name: str) -> list[str]:
    """The values of all cookies of this name."""
    headers = [value.decode("latin-1") for key, value in scope["headers"] if key == b"cookie"]
    pairs = [part.strip().partition("=") for header in headers for part in header.split(";")]
    return [value for key, _, value in pairs if key == name]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")
