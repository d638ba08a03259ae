from collections.abc import Iterator
from pathlib import Path
from threading import enumerate as running_threads

import pytest

from enrich.video.extraction import Extraction, KeptFrame
from enrich.video.jpeg import JpegFormat
from enrich.video.probe import probe
from enrich.video.sampling import parse_sampling


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    left = [thread.name for thread in running_threads() if thread.name.startswith("everyframe-")]
    assert not left


@pytest.fixture
def extracted(tmp_path):
    """Extracts a clip into `tmp_path / "frames"`; returns the kept frames and the finished extraction."""

    def run(path: Path, sampling: str = "exact", *, edge: int = 336, folder: str = "frames"):
        jpeg = JpegFormat(edge=edge, quality=85, rotation=probe(path).rotation)
        with Extraction(path, tmp_path / folder, sampling=parse_sampling(sampling), jpeg=jpeg) as extraction:
            kept: list[KeptFrame] = list(extraction)
        return kept, extraction

    return run
