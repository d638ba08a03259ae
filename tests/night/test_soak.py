"""A long night in short: very many frames through a server that answers at once, and a worker that grows with none.

How many frames: EVERYFRAME_TEST_SOAK_FRAMES, by default as many as a minute is enough for. Memory, files and
threads of the worker are looked at from outside, from the first thousand frames on.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import psutil
import pytest

from tests.clips import numbered_picture, picture_clip
from tests.night.night import ROOT, Night, assert_in_order

FRAMES = int(os.environ.get("EVERYFRAME_TEST_SOAK_FRAMES", "4000"))
CLIP_FRAMES = 2000
WARM_FRAMES = 1000
LOOK_SECONDS = 0.5
MEMORY_GROWTH = 1.15  # of the last quarter's median against the first one's
SIZE = (192, 108)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Look:
    """What the worker takes at one moment."""

    described: int
    memory_bytes: int
    files: int
    threads: int


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in that is a process of its own."""
    command = (sys.executable, "-m", "tests.standin", "--parallel", "4")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", address)
        yield address
        process.terminate()


def pictures(first: int, number: int) -> Iterator[np.ndarray]:
    return (numbered_picture(n, SIZE) for n in range(first, first + number))


def test_memory_files_and_threads_stay_as_they_were(
    night: Night, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = night.workspace
    clips = [
        picture_clip(tmp_path / f"{first}.mp4", pictures(first, min(CLIP_FRAMES, FRAMES - first)), codec="mpeg4")
        for first in range(0, FRAMES, CLIP_FRAMES)
    ]
    workspace.add(*clips)
    began = time.monotonic()
    process = psutil.Process(night.begin().pid)
    looks: list[Look] = []
    for number in count():
        described = workspace.described()
        if described >= WARM_FRAMES:
            looks.append(Look(described, process.memory_info().rss, process.num_fds(), process.num_threads()))
        if described >= FRAMES:
            break
        assert process.is_running(), night.log()
        assert process.status() != psutil.STATUS_ZOMBIE, night.log()
        if number % 20 == 0:
            httpx.post(f"{address}/standin/forget", json={})
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    night.finish(night.workers[0])
    assert_in_order(workspace)

    part = max(1, len(looks) // 4)
    first, last = looks[:part], looks[-part:]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{FRAMES} frames in {seconds:.0f} s, {FRAMES / seconds:.0f} a second; first and last quarter:"
            f" memory {median(look.memory_bytes for look in first) / 1e6:.0f} and"
            f" {median(look.memory_bytes for look in last) / 1e6:.0f} MB"
            f" (at most {max(look.memory_bytes for look in looks) / 1e6:.0f}),"
            f" files {max(look.files for look in first)} and {max(look.files for look in last)},"
            f" threads {max(look.threads for look in first)} and {max(look.threads for look in last)}\n"
        )
    assert len(looks) >= 8
    memory = [median(look.memory_bytes for look in quarter) for quarter in (first, last)]
    assert memory[1] <= MEMORY_GROWTH * memory[0], looks
    assert max(look.files for look in last) <= max(look.files for look in first) + 3, looks
    assert max(look.threads for look in last) <= max(look.threads for look in first) + 2, looks
