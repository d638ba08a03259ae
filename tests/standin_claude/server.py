"""The stand-in: its state, its bill, and the methods with which tests control it. Thread-safe."""

import threading
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from tests.standin_claude.batches import Batch, custom_ids, page
from tests.standin_claude.bill import Bill
from tests.standin_claude.handler import BATCHES, Server
from tests.standin_claude.request import Refusal, Request, read_message
from tests.standin_claude.tricks import Play, Trick, message, refusal

KEY = "sk-ant-standin"


class ClaudeStandIn:
    """A stand-in for Claude's API, in threads of this process. `with ClaudeStandIn() as claude: claude.address`."""

    def __init__(
        self,
        *,
        port: int = 0,
        delay: float = 0.0,
        batch_seconds: float | None = None,
        keys: Collection[str] = (KEY,),
    ) -> None:
        """`batch_seconds` is the duration of a batch; None: until `finish` is called."""
        self.delay, self.batch_seconds, self.keys = delay, batch_seconds, frozenset(keys)
        self.history: list[Request] = []
        self.bills: list[Bill] = []
        self.plays: list[Play] = []
        self.batches: dict[str, Batch] = {}
        self.released = threading.Event()
        self._port = port
        self._lock = threading.RLock()
        self._replies = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def asked(self) -> list[Request]:
        """The answered requests for messages, in order."""
        return [request for request in self.history if request.path == "/v1/messages" and request.status == 200]

    @property
    def sent(self) -> list[Request]:
        """Every request with data of a video: messages and batches, not counts."""
        return [
            request
            for request in self.history
            if request.path in ("/v1/messages", BATCHES) and request.method == "POST"
        ]

    @property
    def usd(self) -> float:
        """The total of the bill."""
        return sum(bill.usd for bill in self.bills)

    def start(self) -> Self:
        """Start listening; after a stop on the same port as before."""
        self._server = Server(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse new connections and close the existing ones, even during replies. Batches are kept."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        server.close_connections()
        self.calm()
        if self._thread is not None:
            self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def play(self, trick: Trick | str, **when: Any) -> None:
        """Play a trick from now on; see Play for `when`."""
        labels = when.pop("labels", None)
        self.plays.append(Play(Trick(trick), labels=None if labels is None else frozenset(labels), **when))

    def calm(self) -> None:
        """End all tricks and release requests that hang."""
        self.plays.clear()
        self.released.set()
        self.released = threading.Event()

    def behave(self, **changes: Any) -> None:
        """Change `delay`, `batch_seconds` or `keys`."""
        for name, value in changes.items():
            setattr(self, name, frozenset(value) if name == "keys" else value)

    def forget(self) -> None:
        """Clear the history and the bill."""
        with self._lock:
            self.history.clear()
            self.bills.clear()

    def finish(self, *, expire: Collection[str] = (), error: Collection[str] = ()) -> None:
        """End every batch now. Requests with these custom ids expire or fail."""
        with self._lock:
            for batch in self.batches.values():
                if batch.ended_at is None:
                    self._end(batch, expire=expire, error=error)

    def note(self, request: Request) -> int:
        """Add a request to the history and return its position."""
        with self._lock:
            self.history.append(request)
            return len(self.history) - 1

    def close(self, place: int, **known: Any) -> None:
        """Update a request in the history."""
        with self._lock:
            if place < len(self.history):
                self.history[place] = replace(self.history[place], **known)

    def read(self, body: dict[str, Any], place: int, *, counting: bool, **about: Any) -> Request:
        """Check a request and update it in the history. Raises Refusal."""
        request = read_message(body, counting=counting, **about)
        self.close(
            place, body=request.body, sights=request.sights, text=request.text, input_tokens=request.input_tokens
        )
        return request

    def trick_for(self, path: str, labels: tuple[str, ...]) -> Play | None:
        """The first trick that fits. Counts it as used once. Raises Refusal if the trick is one."""
        with self._lock:
            for play in self.plays:
                if play.fits(path, labels):
                    if play.times is not None:
                        play.times -= 1
                    refused = refusal(play)
                    if refused is not None:
                        raise refused
                    return play
        return None

    def count(self, request: Request, _: Play | None) -> int:
        """The input tokens of a request, free of charge."""
        return request.input_tokens

    def reply(self, request: Request, play: Play | None, *, batch: bool = False) -> dict[str, Any]:
        """The reply to a request. It is charged."""
        with self._lock:
            self._replies += 1
            said = message(request, play, self._replies)
            usage = said["usage"]
            if batch:
                usage["service_tier"] = "batch"
            self.bills.append(Bill(said["model"], usage["input_tokens"], usage["output_tokens"], batch, request.labels))
        return said

    def take_batch(self, body: dict[str, Any]) -> Batch:
        """Accept a batch. An invalid request in it only fails in its own result. Raises Refusal."""
        requests: list[tuple[str, Request | Refusal]] = []
        for name, params in custom_ids(body):
            try:
                requests.append((name, read_message(params, method="POST", path="/v1/messages")))
            except Refusal as refused:
                requests.append((name, refused))
        with self._lock:
            batch = Batch(f"msgbatch_standin{len(self.batches) + 1:04d}", requests)
            self.batches[batch.id] = batch
        return batch

    def batch(self, name: str) -> Batch:
        """The current state of a batch. Raises Refusal."""
        with self._lock:
            batch = self.batches.get(name)
            if batch is None:
                raise Refusal(404, "not_found_error", f"Message batch {name} not found")
            self._let_time_pass()
            return batch

    def listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        """One page of the list of batches. Raises Refusal."""
        with self._lock:
            self._let_time_pass()
            return page(list(self.batches.values()), query, self.address)

    def cancel(self, batch: Batch) -> None:
        """Cancel a batch: its requests end as cancelled."""
        with self._lock:
            if batch.ended_at is None:
                batch.cancel_at = datetime.now(UTC)
                batch.results = [_line(name, {"type": "canceled"}) for name, _ in batch.requests]
                batch.ended_at = datetime.now(UTC)

    def _let_time_pass(self) -> None:
        for batch in self.batches.values():
            is_over = self.batch_seconds is not None and time.monotonic() - batch.started >= self.batch_seconds
            if batch.ended_at is None and is_over:
                self._end(batch)

    def _end(self, batch: Batch, *, expire: Collection[str] = (), error: Collection[str] = ()) -> None:
        for name, request in batch.requests:
            if isinstance(request, Refusal):
                result = _errored(request)
            elif name in error:
                result = _errored(Refusal(500, "api_error", "Internal server error"))
            elif name in expire:
                result = {"type": "expired"}
            else:
                try:
                    play = self.trick_for("/v1/messages", request.labels)
                    result = {"type": "succeeded", "message": self.reply(request, play, batch=True)}
                except Refusal as refused:
                    result = _errored(refused)
            batch.results.append(_line(name, result))
        batch.ended_at = datetime.now(UTC)


def _line(name: str, result: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": name, "result": result}


def _errored(refused: Refusal) -> dict[str, Any]:
    error = {"type": refused.kind, "message": str(refused)}
    return {"type": "errored", "error": {"type": "error", "error": error, "request_id": None}}
