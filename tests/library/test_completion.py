"""Progress: never complete while something is not decoded, never falling, and expected counts from decoded footage."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.counts import ExtractionExtent
from db.models import ExtractionStatus
from enrich.control.status import Status, read_status
from enrich.library import completion
from enrich.library.completion import Completion, completion_of, covered_share
from tests.clips import numbered_clip
from tests.standin import StandIn
from tests.worker.workspace import Workspace

EXTRACTED, EXTRACTING = ExtractionStatus.EXTRACTED, ExtractionStatus.EXTRACTING
SKIMMED, FAILED = ExtractionStatus.SKIMMED, ExtractionStatus.FAILED


def video(number: int = 1, status: ExtractionStatus = EXTRACTED, **values: Any) -> Any:
    """A row of 10,000 source frames, of which 1,000 are kept if it is extracted."""
    row = {"id": number, "extraction_status": status, "sampling": "distinct", "frame_count": 10_000}
    return SimpleNamespace(**row | {"kept": 1000, "described": 0, "covered": 0} | values)


def completion_with(monkeypatch: pytest.MonkeyPatch, *videos: Any, **extents: ExtractionExtent) -> Completion:
    """The completion of videos. `extents`: how far those being decoded are, as `video_2=…`."""
    found = {int(name.removeprefix("video_")): extent for name, extent in extents.items()}
    monkeypatch.setattr(completion, "extraction_extents", lambda *_: found)
    return completion_of(None, videos, videos)  # type: ignore[arg-type]  # only the replaced query reads it


def test_skimmed_frames_do_not_fill_the_bar(monkeypatch):
    skimmed = [video(number, SKIMMED, kept=50, described=50) for number in range(6)]
    extents = {f"video_{number}": ExtractionExtent(0, 50) for number in range(6)}
    found = completion_with(monkeypatch, *skimmed, **extents)
    assert found == Completion(300 / 60_000, 300, 60_000, None, is_counted=False)
    assert found.percent == 0


def test_expected_frames_come_from_the_footage_decoded_so_far(monkeypatch):
    half = video(2, EXTRACTING, kept=2030, described=30)
    rest = video(3, SKIMMED, kept=50)
    extents = {"video_2": ExtractionExtent(5000, 30), "video_3": ExtractionExtent(0, 50)}
    found = completion_with(monkeypatch, video(1), half, rest, **extents)
    share = (1000 + 2000) / (10_000 + 5000)
    assert found.frames_expected == round(1000 + (2000 + 5000 * share) + 10_000 * share)
    assert completion_with(monkeypatch, half, rest, **extents).frames_expected == 2000 + 2000 + 4000


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (video(1, EXTRACTING, kept=9), None),  # too little is decoded
        (video(1, SKIMMED, sampling="exact", kept=100), 10_000),
        (video(1, SKIMMED, sampling="exact", kept=0, frame_count=None), None),
        (video(1, FAILED, kept=7), 7),
        (video(1), 1000),
    ],
)
def test_expected_frames_are_unknown_without_a_basis(monkeypatch, row, expected):
    assert completion_with(monkeypatch, row, video_1=ExtractionExtent(100, 0)).frames_expected == expected


def test_share_is_unknown_without_the_length_of_a_video(monkeypatch):
    found = completion_with(monkeypatch, video(1, described=1000), video(2, SKIMMED, frame_count=None))
    assert (found.share, found.percent, found.source_frames) == (None, None, None)


COUNTS = st.tuples(st.sampled_from([SKIMMED, EXTRACTING, EXTRACTED, FAILED]), *[st.integers(0, 300)] * 4)


@settings(max_examples=200, deadline=None)
@given(st.lists(COUNTS, max_size=5))
def test_percent_is_100_only_when_everything_is_described(rows):
    videos = [
        video(
            number, status, frame_count=frames, kept=kept, described=min(kept, described), covered=min(frames, covered)
        )
        for number, (status, frames, kept, described, covered) in enumerate(rows)
    ]
    with pytest.MonkeyPatch.context() as patch:
        found = completion_with(patch, *videos)
    assert found.percent is not None
    assert 0 <= found.percent <= 100
    if found.percent == 100:
        for row in videos:
            is_whole = row.extraction_status is EXTRACTED and row.described == row.kept
            assert is_whole or max(row.covered, row.described) >= row.frame_count
    assert all(0 <= covered_share(row) <= 1 for row in videos)
    assert found.frames_expected is None or found.frames_expected >= sum(row.kept for row in videos)


async def test_bar_never_falls_and_is_full_only_at_the_end(workspace: Workspace, standin: StandIn, tmp_path) -> None:
    standin.behave(delay=0.02)
    clips = [numbered_clip(tmp_path / f"{number}.mp4", frames=90, first=100 * number) for number in range(3)]
    workspace.add(*clips, sampling="distinct")
    engine, seen = workspace.library.engine, []

    def current() -> Status:
        return read_status(engine, now=datetime.now(UTC), measures=False)

    running = asyncio.ensure_future(workspace.enrich())
    while not running.done():
        seen.append(await asyncio.to_thread(current))
    await running
    seen.append(current())
    shares = [found.completion.share or 0.0 for found in seen]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    for found in seen:
        is_whole = found.described == found.frames and not found.videos_open
        assert (found.completion.percent == 100) <= is_whole
    assert len(set(shares)) > 5
