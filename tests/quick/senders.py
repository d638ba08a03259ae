"""Processes that describe the same key frames at once: `python -m tests.quick.senders COUNT SEED`.

They are forked from one process, since importing the SDK takes seconds. It prints "ready", forks at a line on stdin,
prints a process id for each sender, and ends with them. Each sender runs quick passes as the command does, with images
made here in place of stored ones, until there is nothing left to send.
"""

import asyncio
import os
import random
import sys
import traceback

import anthropic  # noqa: F401  # imported before the fork

from db import queries
from db.engine import reading
from enrich.describe.claude import client, request
from enrich.describe.claude.describer import ClaudeQuick
from enrich.library.library import Library
from enrich.quick import plan, run
from enrich.quick.plan import make_plan
from enrich.quick.run import QuickRunResult, run_quick_pass
from enrich.settings import load_settings
from tests.describe.images import numbered_jpeg

MODELS = ("claude-haiku-4-5", "claude-haiku-5-5")
KEY_FRAMES = 24
ROUNDS = 2
PAUSE_SECONDS = 0.02


async def describe(library: Library, describer: ClaudeQuick) -> QuickRunResult:
    """One quick pass."""
    with reading(library.engine) as connection:
        video = queries.video(connection, 1)
    planned = await asyncio.to_thread(make_plan, library, describer, video, key_frames=KEY_FRAMES)
    result = QuickRunResult()
    await run_quick_pass(library, describer, planned, totals=result, stop=asyncio.Event())
    return result


async def send(number: int, seed: int) -> None:
    """Run quick passes with one model."""
    rng = random.Random(seed + number)
    library = Library.open(load_settings())
    for _ in range(ROUNDS):
        describer = ClaudeQuick(library.settings, model=MODELS[number % len(MODELS)], max_wait_seconds=1.0)
        await describe(library, describer)
        await describer.close()
        await asyncio.sleep(rng.uniform(0, PAUSE_SECONDS))


def main() -> None:
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    client.REQUEST_TIMEOUT_SECONDS = 0.5
    client.INITIAL_BACKOFF_SECONDS = 0.05
    request.IMAGES_PER_REQUEST = 3
    run.MAX_FAILURES = 100
    images = {number: numbered_jpeg(number) for number in range(1, KEY_FRAMES + 1)}
    plan.load_image = lambda _settings, _video, frame: images[frame.id]  # type: ignore[assignment]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(send(number, seed))
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                os._exit(code)
        children.append(child)
    sys.stdout.write(" ".join(map(str, children)) + "\n")
    sys.stdout.flush()
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.stdout.write(" ".join(map(str, codes)) + "\n")


if __name__ == "__main__":
    main()
