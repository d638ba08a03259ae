from pathlib import Path

import pytest

from enrich.video.extraction import Extraction
from enrich.video.jpeg import JpegFormat
from enrich.video.probe import probe
from enrich.video.sampling import parse_sampling
from enrich.video.selection import KeptFrame


@pytest.fixture
def thread_grace_seconds() -> float:
    """An extraction that is closed has joined its threads."""
    return 0.0


@pytest.fixture
def extracted(tmp_path):
    """Extracts a clip into `tmp_path / "frames"`; returns the kept frames and the finished extraction."""

    def run(path: Path, sampling: str = "exact", *, edge: int = 336, folder: str = "frames"):
        jpeg = JpegFormat(edge=edge, quality=85, rotation=probe(path).rotation)
        with Extraction(path, tmp_path / folder, sampling=parse_sampling(sampling), jpeg=jpeg) as extraction:
            kept: list[KeptFrame] = list(extraction)
        return kept, extraction

    return run
