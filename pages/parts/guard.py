"""Who may ask the dashboard for anything: this machine's own browser, under the names it goes by.

Streamlit checks the name only where pages open their connection; pictures, films and uploads must check it too, or any
web site could reach them through a name that it has pointed at this machine.
"""

from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def guards() -> list[Middleware]:
    """What every request passes before all else."""
    return [Middleware(KnownHosts)]


class KnownHosts:
    """Answers only requests to one of `server.allowedHosts`, and says that no other site may embed the dashboard."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # Streamlit looks at its own connections
            await self._app(scope, receive, send)
            return
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_host_allowed(hosts[0]):
            await PlainTextResponse("This is not the dashboard's address.", status_code=421)(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_guarded)
