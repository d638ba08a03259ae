"""The stand-in's HTTP server: its routes, and the control routes of the process form."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

from tests.standin.models import ShelfModel
from tests.standin.request import Refusal, Request, read_request
from tests.standin.tricks import ODD_ANSWERS, PROTOCOL, REFUSALS, Play, Trick, bad_content, good_reply

if TYPE_CHECKING:
    from tests.standin.server import StandIn

VERSION = "0.9.3"
CHARACTERS_PER_TOKEN = 4
IMAGE_TOKENS = 576
HANG_SECONDS = 3600


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, standin: "StandIn", port: int) -> None:
        self.standin = standin
        self.stopping = threading.Event()
        self.released = threading.Event()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), standin.handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """Shut down every connection. Its thread then closes the socket."""
        self.released.set()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnect."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    routes: ClassVar[dict[tuple[str, str], str]] = {
        ("GET", "/api/version"): "_version",
        ("GET", "/api/tags"): "_tags",
        ("GET", "/api/ps"): "_ps",
        ("POST", "/api/show"): "_show",
        ("POST", "/api/chat"): "_chat",
        ("POST", "/api/pull"): "_pull",
        ("DELETE", "/api/delete"): "_delete",
    }

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
        standin = self.server.standin
        if self.path.startswith("/standin/"):
            self._controlled(method, json.loads(raw or b"{}"))
            return
        place: int | None = None
        try:
            request = read_request(method, self.path, raw, at)
            standin.history.append(request)
            place = len(standin.history) - 1
            answer = self._routed(request)
            if answer is None:
                return
            status, payload = HTTPStatus.OK, answer
        except Refusal as refusal:
            status, payload = refusal.status, json.dumps({"error": str(refusal)}).encode()
        if place is not None and place < len(standin.history):
            standin.history[place] = replace(standin.history[place], status=int(status))
        self._send(status, payload)

    def _routed(self, request: Request) -> bytes | None:
        name = self.routes.get((request.method, request.path))
        if name is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "404 page not found")
        chat = name == "_chat"
        play = self.server.standin.trick_for(request, chat=chat, structured=bool(request.body.get("format")))
        if play is not None and play.trick in PROTOCOL:
            return self._misbehave(play, request)
        handler: Callable[[Request, Play | None], bytes | None] = getattr(self, name)
        return handler(request, play)

    def _version(self, _: Request, __: Play | None) -> bytes:
        return json.dumps({"version": VERSION}).encode()

    def _tags(self, _: Request, __: Play | None) -> bytes:
        return json.dumps({"models": [model.entry() for model in self.server.standin.conduct.models]}).encode()

    def _ps(self, _: Request, __: Play | None) -> bytes:
        standin = self.server.standin
        loaded = [model for model in standin.conduct.models if model.name in standin.loaded]
        return json.dumps({"models": [model.entry() | {"size_vram": model.gpu_bytes} for model in loaded]}).encode()

    def _show(self, request: Request, _: Play | None) -> bytes:
        model = self.server.standin.model(request.body.get("model"))
        shown: dict[str, Any] = {"details": model.entry()["details"], "model_info": {}}
        if model.lists_capabilities:
            shown["capabilities"] = ["completion", "vision"] if model.sees else ["completion"]
        return json.dumps(shown).encode()

    def _chat(self, request: Request, play: Play | None) -> bytes:
        standin, body = self.server.standin, request.body
        model = standin.model(body.get("model"))
        if not body.get("messages"):
            return self._load(model, body)
        for name in standin.conduct.refused_fields:
            if body.get(name) is not None:
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, standin.conduct.refusal.format(field=name))
        with standin.slot(self.server.stopping) as waited:
            crashes = standin.crashes
            start = time.monotonic() if waited else request.at
            first = model.name not in standin.loaded
            standin.loaded.add(model.name)
            load = standin.conduct.load if first else 0.0
            good = good_reply(request)
            if play is not None:
                content, thinking, reason = bad_content(play, good, request.prompt)
            elif body.get("format"):
                content, thinking, reason = json.dumps(good, ensure_ascii=False), "", "stop"
            else:
                content, thinking, reason = f"{good['text']}\nTags: {', '.join(good['tags'])}", "", "stop"
            most = body.get("options", {}).get("num_predict", -1)
            if 0 <= most < len(content) / CHARACTERS_PER_TOKEN:
                content, reason = content[: most * CHARACTERS_PER_TOKEN], "length"
            remaining = start + load + standin.conduct.delay - time.monotonic()
            if remaining > 0:
                self.server.stopping.wait(remaining)
            if standin.crashes != crashes:
                raise Refusal(*REFUSALS[Trick.CRASH])
        took = time.monotonic() - start
        message = {"role": "assistant", "content": content} | ({"thinking": thinking} if thinking else {})
        reply = {
            "model": model.name, "created_at": "2026-11-22T10:00:00Z", "message": message, "done_reason": reason,
            "done": True, "total_duration": int(took * 1e9), "load_duration": int(load * 1e9),
            "prompt_eval_count": len(request.prompt) // CHARACTERS_PER_TOKEN + IMAGE_TOKENS * len(request.sights),
            "prompt_eval_duration": 1_000_000, "eval_count": -(-len(content) // CHARACTERS_PER_TOKEN),
            "eval_duration": int((took - load) * 1e9),
        }  # fmt: skip
        return json.dumps(reply).encode()

    def _load(self, model: ShelfModel, body: dict[str, Any]) -> bytes:
        """Load or unload the model, as Ollama does for a call without messages."""
        loaded, unload = self.server.standin.loaded, body.get("keep_alive") in (0, "0")
        (loaded.discard if unload else loaded.add)(model.name)
        reply = {"model": model.name, "message": {"role": "assistant", "content": ""}, "done": True}
        return json.dumps(reply | {"done_reason": "unload" if unload else "load"}).encode()

    def _pull(self, request: Request, _: Play | None) -> None:
        standin = self.server.standin
        name = str(request.body.get("model"))
        whole = name if ":" in name else f"{name}:latest"
        lines: list[dict[str, Any]] = [{"status": "pulling manifest"}]
        if whole in standin.conduct.pullable:
            layer = {"status": "pulling 2af3b81862c6", "digest": "sha256:2af3b81862c6", "total": 1000}
            lines += [layer, layer | {"completed": 500}, layer | {"completed": 1000}]
            lines += [{"status": "verifying sha256 digest"}, {"status": "success"}]
            standin.behave(models=(*standin.conduct.models, ShelfModel(whole)))
        else:
            lines.append({"error": "pull model manifest: file does not exist"})
        self._send(
            HTTPStatus.OK, b"".join(json.dumps(line).encode() + b"\n" for line in lines), kind="application/x-ndjson"
        )

    def _delete(self, request: Request, _: Play | None) -> bytes:
        standin = self.server.standin
        gone = standin.model(request.body.get("model"))
        standin.behave(models=tuple(model for model in standin.conduct.models if model != gone))
        standin.loaded.discard(gone.name)
        return b""

    def _misbehave(self, play: Play, request: Request) -> bytes | None:
        if play.trick is Trick.CRASH:
            self.server.standin.crashes += 1
        if play.trick in REFUSALS:
            status, words = REFUSALS[play.trick]
            raise Refusal(status, words.format(model=request.body.get("model")))
        if play.trick is Trick.HANG:
            self.server.released.wait(HANG_SECONDS)
        if play.trick in ODD_ANSWERS:
            status, payload, declared = ODD_ANSWERS[play.trick]
            self._send(status, payload, declared=declared)
        self.close_connection = play.trick in (Trick.HANG, Trick.DIE, Trick.HALF)
        return None

    def _controlled(self, method: str, body: dict[str, Any]) -> None:
        """The control routes of the process form, which call the methods of StandIn."""
        standin, action = self.server.standin, self.path.removeprefix("/standin/")
        answer: object = {}
        if (method, action) == ("GET", "history"):
            answer = [
                {"path": request.path, "numbers": request.numbers, "at": request.at, "status": request.status}
                for request in standin.history
            ]
        elif action == "play":
            standin.play(**body)
        elif action == "calm":
            standin.calm()
        elif action == "behave":
            standin.behave(**body)
        elif action == "forget":
            standin.forget()
        elif action != "refuse":
            self._send(HTTPStatus.NOT_FOUND, b"{}")
            return
        self._send(HTTPStatus.OK, json.dumps(answer).encode())
        if action == "refuse":  # after the answer, which it would cut off
            threading.Thread(target=_refuse, args=(standin, float(body["seconds"])), daemon=True).start()

    def _send(
        self, status: int, payload: bytes, *, kind: str = "application/json", declared: int | None = None
    ) -> bool:
        """Send a response. Returns whether the client was still connected."""
        head = (
            f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(payload) if declared is None else declared}\r\n\r\n"
        )
        try:
            self.wfile.write(head.encode() + payload)
        except OSError:
            return False
        return True


def _refuse(standin: "StandIn", seconds: float) -> None:
    standin.stop()
    time.sleep(seconds)
    standin.start()
