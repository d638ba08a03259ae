"""Soak test: a worker describes thousands of frames from a fast server, and its memory, files and threads do not grow.

EVERYFRAME_TEST_SOAK_FRAMES sets the number of frames; the default takes about a minute. The worker is measured from
outside, after its first thousand frames.
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

from tests.clips import image_clip, numbered_image
from tests.night.night import ROOT, Night, assert_complete

FRAMES = int(os.environ.get("EVERYFRAME_TEST_SOAK_FRAMES", "4000"))
CLIP_FRAMES = 2000
WARM_FRAMES = 1000
SAMPLE_SECONDS = 0.5
MEMORY_GROWTH = 1.15  # median of the last quarter relative to that of the first
SIZE = (192, 108)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Sample:
    """The resources of the worker at one moment."""

    described: int
    memory_bytes: int
    files: int
    threads: int


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A stand-in in its own process."""
    command = (sys.executable, "-m", "tests.standin", "--parallel", "4")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", address)
        yield address
        process.terminate()


def numbered_images(first: int, number: int) -> Iterator[np.ndarray]:
    return (numbered_image(n, SIZE) for n in range(first, first + number))


def test_memory_files_and_threads_do_not_grow(
    night: Night, address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = night.workspace
    clips = [
        image_clip(tmp_path / f"{first}.mp4", numbered_images(first, min(CLIP_FRAMES, FRAMES - first)), codec="mpeg4")
        for first in range(0, FRAMES, CLIP_FRAMES)
    ]
    workspace.add(*clips)
    began = time.monotonic()
    process = psutil.Process(night.begin().pid)
    samples: list[Sample] = []
    for number in count():
        described = workspace.described()
        if described >= WARM_FRAMES:
            samples.append(Sample(described, process.memory_info().rss, process.num_fds(), process.num_threads()))
        if described >= FRAMES:
            break
        assert process.is_running(), night.log()
        assert process.status() != psutil.STATUS_ZOMBIE, night.log()
        if number % 20 == 0:
            httpx.post(f"{address}/standin/forget", json={})
        time.sleep(SAMPLE_SECONDS)
    seconds = time.monotonic() - began
    night.finish(night.workers[0])
    assert_complete(workspace)

    part = max(1, len(samples) // 4)
    first, last = samples[:part], samples[-part:]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{FRAMES} frames in {seconds:.0f} s, {FRAMES / seconds:.0f} per second; first and last quarter:"
            f" memory {median(sample.memory_bytes for sample in first) / 1e6:.0f} and"
            f" {median(sample.memory_bytes for sample in last) / 1e6:.0f} MB"
            f" (at most {max(sample.memory_bytes for sample in samples) / 1e6:.0f}),"
            f" files {max(sample.files for sample in first)} and {max(sample.files for sample in last)},"
            f" threads {max(sample.threads for sample in first)} and {max(sample.threads for sample in last)}\n"
        )
    assert len(samples) >= 8
    memory = [median(sample.memory_bytes for sample in quarter) for quarter in (first, last)]
    assert memory[1] <= MEMORY_GROWTH * memory[0], samples
    assert max(sample.files for sample in last) <= max(sample.files for sample in first) + 3, samples
    assert max(sample.threads for sample in last) <= max(sample.threads for sample in first) + 2, samples
