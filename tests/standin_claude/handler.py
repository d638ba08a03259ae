"""The stand-in's HTTP server: its routes, and the control routes of the process form."""

import contextlib
import json
import socket
import time
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.standin_claude.request import MOST_BYTES, Refusal, Request, check_headers, read_body
from tests.standin_claude.tricks import BROKEN, Trick

if TYPE_CHECKING:
    from tests.standin_claude.server import ClaudeStandIn

BATCHES = "/v1/messages/batches"
MOST_BATCH_BYTES = 256 * 1024 * 1024
HANG_SECONDS = 3600


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, standin: "ClaudeStandIn", port: int) -> None:
        self.standin = standin
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Shut down every connection. Its thread then closes the socket."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Log nothing: the history is the log."""

    def _handle(self, method: str) -> None:
        at = time.monotonic()
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        standin = self.server.standin
        if parts.path.startswith("/standin/"):
            self._controlled(method, parts.path.removeprefix("/standin/"), json.loads(raw or b"{}"))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        about: dict[str, Any] = {"method": method, "path": parts.path, "at": at, "headers": headers}
        place = standin.note(Request(**about))
        try:
            check_headers(headers, method, standin.keys)
            limit = MOST_BATCH_BYTES if parts.path == BATCHES else MOST_BYTES
            if len(raw) > limit:
                raise Refusal(413, "request_too_large", "Request exceeds the maximum size")  # noqa: TRY301  # one way out
            answer = self._routed(method, parts.path, parse_qs(parts.query), raw, about, place)
        except Refusal as refused:
            standin.close(place, status=refused.status)
            error: dict[str, Any] = {"type": refused.kind, "message": str(refused)}
            if refused.code:
                error["details"] = {"error_code": refused.code}
            body = {"type": "error", "error": error, "request_id": f"req_standin{place:06d}"}
            self._send(refused.status, json.dumps(body).encode(), headers=refused.headers)
            return
        if answer is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        standin.close(place, status=200)
        self._send(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def _routed(
        self, method: str, path: str, query: dict[str, list[str]], raw: bytes, about: dict[str, Any], place: int
    ) -> dict[str, Any] | bytes | None:
        """The response; None to close the connection without one. Raises Refusal."""
        standin = self.server.standin
        if method == "POST" and path in ("/v1/messages", "/v1/messages/count_tokens"):
            request = standin.read(read_body(raw), place, counting=path != "/v1/messages", **about)
            return self._answered(request)
        play = standin.trick_for(path if path == BATCHES else f"{BATCHES}/…", ())
        if play is not None and play.trick in BROKEN:
            if play.trick is Trick.DIE_PAID and (method, path) == ("POST", BATCHES):
                standin.take_batch(read_body(raw))
            return None
        if (method, path) == ("POST", BATCHES):
            return standin.take_batch(read_body(raw)).shown(standin.address)
        if (method, path) == ("GET", BATCHES):
            return standin.listed(query)
        return self._of_batch(method, path.removeprefix(f"{BATCHES}/"))

    def _of_batch(self, method: str, rest: str) -> dict[str, Any] | bytes:
        """The response for one batch. Raises Refusal."""
        standin = self.server.standin
        name, _, action = rest.partition("/")
        batch = standin.batch(name)
        if (method, action) == ("GET", "results") and batch.ended_at:
            return batch.lines()
        if (method, action) == ("POST", "cancel"):
            standin.cancel(batch)
        elif (method, action) != ("GET", ""):
            raise Refusal(404, "not_found_error", "Not found")
        return batch.shown(standin.address)

    def _answered(self, request: Request) -> dict[str, Any] | None:
        standin = self.server.standin
        play = standin.trick_for(request.path, request.labels)
        if play is not None and play.trick in BROKEN:
            if play.trick is Trick.HANG:
                standin.released.wait(HANG_SECONDS)
            elif play.trick is Trick.DIE_PAID:
                standin.reply(request, None)
            return None
        if request.path.endswith("count_tokens"):
            return {"input_tokens": standin.count(request, play)}
        if standin.delay:
            standin.released.wait(standin.delay)
        return standin.reply(request, play)

    def _controlled(self, method: str, action: str, body: dict[str, Any]) -> None:
        """The control routes of the process form, which call the methods of ClaudeStandIn."""
        standin = self.server.standin
        answer: object = {}
        if (method, action) == ("GET", "history"):
            answer = [
                {"method": request.method, "path": request.path, "labels": request.labels, "numbers": request.numbers,
                 "input_tokens": request.input_tokens, "at": request.at, "status": request.status}
                for request in list(standin.history)
            ]  # fmt: skip
        elif (method, action) == ("GET", "bills"):
            answer = [asdict(bill) | {"usd": bill.usd} for bill in list(standin.bills)]
        elif action == "play":
            standin.play(**body)
        elif action == "calm":
            standin.calm()
        elif action == "behave":
            standin.behave(**body)
        elif action == "finish":
            standin.finish(**body)
        elif action == "forget":
            standin.forget()
        else:
            self._send(404, b"{}")
            return
        self._send(200, json.dumps(answer).encode())

    def _send(self, status: int, payload: bytes, *, headers: dict[str, str] | None = None) -> None:
        lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {len(payload)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        with contextlib.suppress(OSError):  # the client may have disconnected
            self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode() + payload)
