"""Skimming by seeking, placing skimmed frames during extraction, deeper skims, priority ranges and gap filling."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db import editing, extraction, queue
from db.editing import REQUEST_PRIORITY, PriorityRange
from db.engine import reading, writing
from db.models import TaskKind
from enrich.schedule.coverage import (
    COVERAGE_PRIORITY_LIMIT,
    GAP_FILL_PRIORITY,
    SKIM_PRIORITY,
    CoverageOrder,
)
from enrich.worker import decoder
from enrich.worker.run_options import RunEnd, RunOptions
from enrich.worker.skim_task import skim_video
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]
SKIM_FRAMES = 12


@pytest.fixture
def video_file(clip: Clip) -> Path:
    """48 s at 5 frames per second with a key frame every second: a skim finds 12 frames."""
    return clip(frames=240, fps=5, gop=5)


def skimmed(workspace: Workspace) -> set[int]:
    """The numbers of the frames that a skim has found."""
    rows = workspace.ask('SELECT f."index" FROM frames f JOIN tasks t ON t.frame_id = f.id WHERE priority > 950000000')
    return {index for (index,) in rows}


async def test_skimmed_frames_are_described_first_and_then_placed(
    make_workspace: Callable[..., Workspace], standin: StandIn, video_file: Path
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(video_file, sampling="every=1s")
    await workspace.enrich()
    found = skimmed(workspace)
    assert SKIM_FRAMES - 3 <= len(found) <= SKIM_FRAMES
    assert set(standin.described[: len(found)]) == found
    frames = workspace.frames()
    assert sum(frame.stands_for or 0 for frame in frames) == 240
    assert [frame.index for frame in frames] == [round(frame.timestamp * 5) for frame in frames]
    assert {frame.index for frame in frames} == set(range(0, 240, 5)) | found
    assert len(standin.described) == len(frames)  # no frame was described twice
    assert workspace.video().extraction_status == "extracted"
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_all_videos_are_skimmed_before_the_first_is_decoded(
    workspace: Workspace, video_file: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(video_file, clip(frames=200, fps=5, gop=5, first=1000))
    seen: list[list[str]] = []
    extract = decoder.extract_video

    def extract_video(*arguments: object, **named: object) -> bool:
        seen.append([workspace.video(number).extraction_status for number in (1, 2)])
        return extract(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "extract_video", extract_video)
    await workspace.enrich()
    assert seen == [["skimmed", "skimmed"], ["extracted", "skimmed"]]


async def test_skimmed_frames_are_described_from_coarse_to_fine(
    make_workspace: Callable[..., Workspace], standin: StandIn, video_file: Path, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    standin.behave(delay=0.3)  # both skims end before the second frame is described
    workspace.add(video_file, clip(frames=240, fps=5, gop=5, first=1000))
    await workspace.enrich(RunOptions(limit=9))
    order = CoverageOrder(48.0)
    for begin in (0, 1000):
        numbers = [number - begin for number in standin.described if begin <= number < begin + 240]
        assert len(numbers) >= 3
        for rank, number in enumerate(numbers, 1):
            assert number / 5 == pytest.approx(order.point(rank), abs=order.gap(SKIM_FRAMES) / 2)


async def test_extract_only_run_skims_nothing(workspace: Workspace, video_file: Path) -> None:
    workspace.add(video_file, sampling="every=2s")
    summary = await workspace.worker(RunOptions(describe=False), None).run()
    assert summary.ending is RunEnd.FINISHED
    assert skimmed(workspace) == set()
    assert workspace.tasks("skim") == {"done": 1}


async def test_interrupted_skim_resumes_without_duplicates(
    workspace: Workspace, standin: StandIn, video_file: Path
) -> None:
    workspace.add(video_file, sampling="every=2s")
    stop = threading.Event()
    with writing(workspace.library.engine) as connection:
        [job] = queue.claim(
            connection, queue.TaskFilter(TaskKind.SKIM), run_id=None, host="here", limit=1, now=datetime.now(UTC)
        )
    skim_video(workspace.library, job, passes=("deep",), stop=stop, on_frames=stop.set)
    assert len(workspace.frames()) == 1
    assert workspace.tasks("skim") == {"todo": 1}
    await workspace.enrich()
    assert SKIM_FRAMES - 3 <= len(skimmed(workspace)) <= SKIM_FRAMES
    assert len(standin.described) == len(set(standin.described)) == len(workspace.frames())
    assert_truthful(workspace)


async def test_videos_waiting_for_decoding_are_skimmed_more_deeply(
    workspace: Workspace, standin: StandIn, video_file: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding is blocked until the video has been skimmed more deeply."""
    go_on = threading.Event()
    extract = decoder.extract_video
    skimmed_counts: list[int] = []

    def extract_video(*arguments: object, **named: object) -> bool:
        go_on.wait(20)
        return extract(*arguments, **named)  # type: ignore[arg-type]

    deeper = extraction.extend_skim

    def skim_deeper(*arguments: object, **named: int) -> bool:
        skimmed_counts.append(named["places"])
        done = deeper(*arguments, **named)  # type: ignore[arg-type]
        go_on.set()
        return done

    monkeypatch.setattr(decoder, "extract_video", extract_video)
    monkeypatch.setattr(extraction, "extend_skim", skim_deeper)
    workspace.add(clip(frames=600, fps=5, gop=5), sampling="every=1s")
    with writing(workspace.library.engine) as connection:
        connection.exec_driver_sql("""UPDATE tasks SET payload = '{"pictures": 6, "taken": 0}' WHERE kind = 'skim'""")
    await workspace.enrich()
    assert skimmed_counts[0] == 12
    assert len(skimmed(workspace)) <= 6
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 600
    assert_truthful(workspace)


async def test_frame_skimmed_behind_the_decoder_is_still_placed(
    workspace: Workspace, video_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(video_file, sampling="every=5s")
    unplaced = extraction.unplaced_frames
    asked: list[int] = []

    def late(*arguments: object) -> list[tuple[int, float]]:
        asked.append(len(asked))
        return [] if asked == [0, 1] else unplaced(*arguments)  # type: ignore[arg-type]  # 0: the skim, 1: extraction

    monkeypatch.setattr(extraction, "unplaced_frames", late)
    await workspace.enrich()
    frames = workspace.frames()
    assert len(frames) > 10
    for frame, after in zip(frames, [*frames[1:], None], strict=True):
        assert frame.index is not None
        assert frame.index + (frame.stands_for or 0) == (240 if after is None else after.index)
    assert_truthful(workspace)


async def test_skimmed_frame_at_a_nonexistent_time_is_dropped(workspace: Workspace, video_file: Path) -> None:
    workspace.add(video_file, sampling="every=5s")
    await workspace.worker(RunOptions(describe=False), None).run()
    workspace.change("UPDATE tasks SET status = 'todo' WHERE kind = 'extract'")
    workspace.change(
        "INSERT INTO frames (video_id, timestamp, image_path, is_keyframe) VALUES (1, 7.123, 'nowhere.jpg', 0)"
    )
    await workspace.worker(RunOptions(describe=False), None).run()
    assert 7.123 not in [frame.timestamp for frame in workspace.frames()]
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 240


async def test_priority_range_goes_first_and_starves_nothing(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(clip(frames=40), clip(frames=40, first=1000))
    await workspace.worker(RunOptions(describe=False), None).run()
    with writing(workspace.library.engine) as connection:
        prioritized = editing.prioritize(connection, 2, PriorityRange(start=0.5))
    await workspace.enrich()
    second = [number >= 1000 for number in standin.described]
    assert prioritized == sum(frame.timestamp >= 0.5 for frame in workspace.frames(2))
    half = second[: prioritized + prioritized // 3]
    assert sum(half) >= 0.6 * len(half)
    assert half.count(False) >= prioritized // 8
    assert len(standin.described) == 80


async def test_priority_range_of_an_undecoded_video_is_applied_later(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=30), clip(frames=30, first=1000))
    with writing(workspace.library.engine) as connection:
        assert editing.prioritize(connection, 2, PriorityRange(0.2, 0.4)) == 0
    await workspace.worker(RunOptions(describe=False), None).run()
    rows = workspace.ask(
        "SELECT timestamp, priority FROM frames JOIN tasks ON frame_id = frames.id WHERE frames.video_id = 2"
    )
    assert {row.timestamp for row in rows if row.priority == REQUEST_PRIORITY} == {
        row.timestamp for row in rows if 0.2 <= row.timestamp <= 0.4
    }
    assert workspace.value("SELECT count(*) FROM tasks WHERE video_id = 1 AND priority > 900000000") == 0


async def test_coverage_order_covers_all_videos_evenly(
    make_workspace: Callable[..., Workspace], video_file: Path, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(video_file, clip(frames=120, fps=5, gop=5), sampling="every=1s")
    await workspace.worker(RunOptions(describe=False), None).run()
    for _ in range(4):
        await workspace.enrich(RunOptions(limit=12))
        gaps = []
        for number, seconds in ((1, 48.0), (2, 24.0)):
            times = [frame.timestamp for frame in workspace.frames(number) if frame.local_description]
            gaps.append(max(after - before for before, after in zip(times, [*times[1:], seconds], strict=True)))
            assert gaps[-1] <= 2 * seconds / len(times) + 1  # frames are one second apart
        assert abs(gaps[0] - gaps[1]) <= 0.6 * max(gaps) + 1


async def test_gap_between_unlike_neighbours_is_filled_next(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(clip(frames=60, fps=5), sampling="exact")
    await workspace.worker(RunOptions(describe=False), None).run()  # its speed must not decide what is described first
    await workspace.enrich(RunOptions(limit=30))
    filled = workspace.ask("SELECT frame_id FROM tasks WHERE priority = :fill", fill=GAP_FILL_PRIORITY)
    assert 3 <= len(filled) <= 10


def test_priority_bands_do_not_overlap() -> None:
    assert (
        CoverageOrder(None).priority(0.0, 1.0)
        <= COVERAGE_PRIORITY_LIMIT
        < GAP_FILL_PRIORITY
        < SKIM_PRIORITY - 50
        < REQUEST_PRIORITY
        < 2**31
    )


async def test_missing_video_is_skimmed_when_it_is_back(workspace: Workspace, video_file: Path, tmp_path: Path) -> None:
    here = tmp_path / "film.mp4"
    here.write_bytes(video_file.read_bytes())
    workspace.add(here, sampling="every=2s")
    here.rename(tmp_path / "away.mp4")
    summary = await workspace.enrich()
    assert [title for title, _ in summary.waiting] == ["film"]
    assert workspace.tasks("skim") == {"todo": 1}
    (tmp_path / "away.mp4").rename(here)
    await workspace.enrich()
    assert skimmed(workspace)
    with reading(workspace.library.engine) as connection:
        assert extraction.unplaced_frames(connection, 1) == []
    assert_truthful(workspace)
