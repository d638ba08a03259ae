"""The stand-in as a process: `python -m tests.standin --port 0 --delay 0.2`. It prints its address first.

It is controlled over HTTP, for example `POST /standin/play {"trick": "hang", "times": 1}`; also `calm`,
`behave {"delay": 1}`, `refuse {"seconds": 3}`, `forget`, and `GET /standin/history`. It ends with its parent's
SIGTERM or SIGINT.
"""

import argparse
import signal
import sys
import threading

from tests.standin.models import ShelfModel
from tests.standin.server import StandIn


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin", description="A stand-in for Ollama.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a call takes")
    parser.add_argument("--load", type=float, default=0.0, help="additional seconds of the first call")
    parser.add_argument("--parallel", type=int, default=1, help="concurrent calls; more are queued")
    parser.add_argument("--queue", type=int, default=512, help="size of the queue; more calls get a 503")
    parser.add_argument("--model", action="append", help="a vision model; may be repeated (default llava:13b)")
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    models = tuple(ShelfModel(name if ":" in name else f"{name}:latest") for name in given.model or ["llava:13b"])
    with StandIn(
        port=given.port, delay=given.delay, load=given.load, parallel=given.parallel, queue=given.queue, models=models
    ) as standin:
        sys.stdout.write(f"{standin.address}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
