"""Two stand-ins in one process that answer a share of the images with nonsense once, and record every reply.

`python -m tests.standin.hostile --hosts 2 --seed 7 --share 0.05` prints the addresses in one line of JSON. Whether the
first reply about an image is nonsense, and of which kind, depends on the seed and the image only; every later reply
about it, from any host, is good. Each host has the control routes of the stand-in's process form, and
`GET /standin/ledger`, which returns the replies about numbered images and forgets them.
"""

import argparse
import contextlib
import json
import random
import signal
import sys
import threading
import time
from collections import Counter, deque
from http import HTTPStatus
from typing import Any

from tests.standin.handler import Handler
from tests.standin.nonsense import CHUNK_BYTES, NONSENSE, chunks, kind_for, nonsense
from tests.standin.request import Request
from tests.standin.server import StandIn
from tests.standin.tricks import Play

RECENT_REQUESTS = 1000  # kept in the history


class Ledger:
    """The replies about numbered images of all hosts. Thread-safe. Times are monotonic seconds."""

    def __init__(self, *, seed: int, share: float, kinds: tuple[str, ...] = tuple(NONSENSE)) -> None:
        self.seed = seed
        self._share = share
        self._kinds = kinds
        self._lock = threading.Lock()
        self._begun: Counter[int] = Counter()
        self._replies: list[tuple[int, str | None, float, float]] = []

    def begin(self, number: int) -> str | None:
        """A reply about an image is due: the kind of nonsense it gets, None for a good one."""
        with self._lock:
            self._begun[number] += 1
            is_first = self._begun[number] == 1
        return kind_for(self.seed, number, self._share, self._kinds) if is_first else None

    def sent(self, number: int, kind: str | None, asked_at: float, sent_at: float) -> None:
        """A reply was sent to a client that was connected."""
        with self._lock:
            self._replies.append((number, kind, asked_at, sent_at))

    def taken(self) -> list[tuple[int, str | None, float, float]]:
        """All replies since the last call: number, kind of nonsense, when they were asked for, when they were sent."""
        with self._lock:
            replies, self._replies = self._replies, []
        return replies


class HostileHandler(Handler):
    """Replaces good replies about numbered images by nonsense, and records both."""

    _sending: tuple[int, str | None, float] | None = None

    def _chat(self, request: Request, play: Play | None) -> bytes | None:
        good = super()._chat(request, play)
        number = request.numbers[0] if request.numbers else None
        if good is None or play is not None or number is None or request.is_warm_up:
            return good  # health checks are never answered with nonsense
        ledger = self._ledger
        kind = ledger.begin(number)
        self._sending = (number, kind, request.at)
        return good if kind is None else nonsense(kind, good, request.prompt, seed=ledger.seed + number)

    @property
    def _ledger(self) -> Ledger:
        standin = self.server.standin
        assert isinstance(standin, HostileStandIn)
        return standin.ledger

    def _controlled(self, method: str, body: dict[str, Any]) -> None:
        if (method, self.path) == ("GET", "/standin/ledger"):
            self._send(HTTPStatus.OK, json.dumps(self._ledger.taken()).encode())
            return
        super()._controlled(method, body)

    def _send(self, status: int, payload: bytes, **how: Any) -> bool:
        sending, self._sending = self._sending, None
        if sending is not None and len(payload) > CHUNK_BYTES:
            is_sent = self._send_chunked(payload)
        else:
            is_sent = super()._send(status, payload, **how)
        if sending is not None and is_sent:
            self._ledger.sent(*sending, time.monotonic())
        return is_sent

    def _send_chunked(self, payload: bytes) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        try:
            self.wfile.write(head)
            for part in chunks(payload):
                self.wfile.write(part)
        except OSError:  # the client had enough
            self.close_connection = True
            return False
        return True


class HostileStandIn(StandIn):
    """One host; several may share a ledger."""

    handler = HostileHandler

    def __init__(self, ledger: Ledger, **conduct: Any) -> None:
        super().__init__(**conduct)
        self.ledger = ledger
        self.history = deque(maxlen=RECENT_REQUESTS)  # type: ignore[assignment]  # a bounded list


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.standin.hostile", description="Stand-ins that send nonsense."
    )
    parser.add_argument("--hosts", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--share", type=float, default=0.05, help="of the images whose first reply is nonsense")
    parser.add_argument("--kind", action="append", help="a kind of nonsense; may be repeated (default: all)")
    parser.add_argument("--delay", type=float, default=0.005, help="seconds a call takes")
    parser.add_argument("--parallel", type=int, default=4, help="concurrent calls of each host")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    ledger = Ledger(seed=given.seed, share=given.share, kinds=tuple(given.kind or NONSENSE))
    with contextlib.ExitStack() as stack:
        hosts = [
            stack.enter_context(HostileStandIn(ledger, delay=given.delay, parallel=given.parallel))
            for _ in range(given.hosts)
        ]
        sys.stdout.write(json.dumps([host.address for host in hosts]) + "\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
