"""The stand-in as a process: `python -m tests.standin_claude --port 0`. It prints its address first.

Use it with `ANTHROPIC_BASE_URL=<address> ANTHROPIC_API_KEY=sk-ant-standin`. It is controlled over HTTP: `POST
/standin/play {"trick": "rate limit", "times": 1}`, `calm`, `behave {"delay": 1, "batch_seconds": 5}`, `finish` (all
batches, `{"expire": ["custom id"]}`), `forget`, and `GET /standin/history`, `/standin/bills`. It ends with its parent's
SIGTERM or SIGINT.
"""

import argparse
import signal
import sys
import threading

from tests.standin_claude.server import ClaudeStandIn


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m tests.standin_claude", description="A stand-in for Claude's API.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds a reply takes")
    parser.add_argument(
        "--batch-seconds", type=float, default=None, help="seconds a batch takes; default until `finish`"
    )
    given = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ClaudeStandIn(port=given.port, delay=given.delay, batch_seconds=given.batch_seconds) as standin:
        sys.stdout.write(f"{standin.address}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
