"""The stand-in: its state, and the methods with which tests control it.

Thread-safe. As in Ollama, calls beyond `parallel` are queued, and calls beyond `queue` get a 503.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, Self

from tests.standin.handler import Handler, Server
from tests.standin.models import Conduct, ShelfModel
from tests.standin.request import Refusal, Request
from tests.standin.tricks import BUSY_WORDS, Play, Trick


class StandIn:
    """A stand-in for Ollama, in threads of this process. `with StandIn() as ollama: ollama.address`."""

    handler: ClassVar[type[Handler]] = Handler

    def __init__(self, *, port: int = 0, **conduct: Any) -> None:
        self.conduct = Conduct(**conduct)
        self.history: list[Request] = []
        self.plays: list[Play] = []
        self.loaded: set[str] = set()
        self.crashes = 0  # of the model runner
        self._port = port
        self._lock = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def chats(self) -> list[Request]:
        """The calls to the model, without warm-ups."""
        return [
            request
            for request in self.history
            if request.path == "/api/chat" and request.sights and not request.is_warm_up
        ]

    @property
    def described(self) -> list[int | None]:
        """The numbers of the described images, in the order of their requests."""
        return [number for request in self.chats if request.status == HTTPStatus.OK for number in request.numbers]

    def start(self) -> Self:
        """Start listening; after a stop on the same port as before."""
        self._server = Server(self, self._port)
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Refuse new connections and close the existing ones, even during calls."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        server.close_connections()  # before the calls in flight are released, which must not be answered
        server.stopping.set()
        with self._lock:
            self._lock.notify_all()
        if self._thread is not None:
            self._thread.join(5)
        self.loaded.clear()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def play(self, trick: Trick | str, **when: Any) -> None:
        """Play a trick from now on; see Play for `when`."""
        frames = when.pop("frames", None)
        self.plays.append(Play(Trick(trick), frames=None if frames is None else frozenset(frames), **when))

    def calm(self) -> None:
        """End all tricks. Calls that hang get a closed connection."""
        self.plays.clear()
        if self._server is not None:
            self._server.released.set()
            self._server.released = threading.Event()

    def behave(self, **changes: Any) -> None:
        """Change the conduct, for example `delay=0.2`."""
        self.conduct = replace(self.conduct, **changes)
        with self._lock:
            self._lock.notify_all()

    def forget(self) -> None:
        """Clear the history."""
        self.history.clear()

    def model(self, name: object) -> ShelfModel:
        """The model of this name. Raises Refusal if there is none."""
        whole = name if isinstance(name, str) and ":" in name else f"{name}:latest"
        for model in self.conduct.models:
            if model.name == whole:
                return model
        raise Refusal(HTTPStatus.NOT_FOUND, f'model "{name}" not found, try pulling it first')

    def trick_for(self, request: Request, *, chat: bool, structured: bool) -> Play | None:
        """The first trick that fits the request. Counts it as used once."""
        with self._lock:
            for play in self.plays:
                if play.fits(request, chat=chat, structured=structured):
                    if play.times is not None:
                        play.times -= 1
                    return play
        return None

    @contextlib.contextmanager
    def slot(self, stopping: threading.Event) -> Iterator[bool]:
        """One of the concurrent calls; yields whether it was queued. Raises Refusal if the queue is full."""
        with self._lock:
            waits = self._running >= self.conduct.parallel
            if waits and self._waiting >= self.conduct.queue:
                raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, BUSY_WORDS)
            self._waiting += 1
            try:
                self._lock.wait_for(lambda: self._running < self.conduct.parallel or stopping.is_set())
            finally:
                self._waiting -= 1
            self._running += 1
        try:
            yield waits
        finally:
            with self._lock:
                self._running -= 1
                self._lock.notify()
