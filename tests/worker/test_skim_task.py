"""The first look by seeking, what extraction makes of it, deeper looks, wishes, and gaps that are filled."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db import editing, extraction, queue
from db.editing import PriorityRange
from db.engine import reading, writing
from db.models import TaskKind
from enrich.schedule.coverage import FILL_PRIORITY, GAP_LIMIT, REQUEST_PRIORITY, SKIM_PRIORITY, CoverageOrder
from enrich.worker import decoder, extract_task
from enrich.worker.run_options import RunEnd, RunOptions
from enrich.worker.skim_task import skim_video
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

Clip = Callable[..., Path]
LOOKED_AT = 12


@pytest.fixture
def film(clip: Clip) -> Path:
    """48 s at 5 frames a second, a key frame every second: a first look takes 12 pictures."""
    return clip(frames=240, fps=5, gop=5)


def sought(workspace: Workspace) -> set[int]:
    """The numbers of the frames that a first look has found."""
    rows = workspace.ask('SELECT f."index" FROM frames f JOIN tasks t ON t.frame_id = f.id WHERE priority > 950000000')
    return {index for (index,) in rows}


async def test_the_first_look_is_described_first_and_then_gets_its_place(
    make_workspace: Callable[..., Workspace], standin: StandIn, film: Path
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(film, sampling="every=1s")
    await workspace.enrich()
    found = sought(workspace)
    assert LOOKED_AT - 3 <= len(found) <= LOOKED_AT
    assert set(standin.described[: len(found)]) == found
    frames = workspace.frames()
    assert sum(frame.stands_for or 0 for frame in frames) == 240
    assert [frame.index for frame in frames] == [round(frame.timestamp * 5) for frame in frames]
    assert {frame.index for frame in frames} == set(range(0, 240, 5)) | found
    assert len(standin.described) == len(frames)  # none was described twice
    assert workspace.video().extraction_status == "extracted"
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_all_films_are_looked_at_before_the_first_is_decoded(
    workspace: Workspace, film: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(film, clip(frames=200, fps=5, gop=5, first=1000))
    seen: list[list[str]] = []
    extract = decoder.extract_video

    def extract_video(*arguments: object, **named: object) -> bool:
        seen.append([workspace.video(number).extraction_status for number in (1, 2)])
        return extract(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(decoder, "extract_video", extract_video)
    await workspace.enrich()
    assert seen == [["skimmed", "skimmed"], ["extracted", "skimmed"]]


async def test_the_pictures_of_a_look_go_from_coarse_to_fine_in_every_film(
    make_workspace: Callable[..., Workspace], standin: StandIn, film: Path, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    standin.behave(delay=0.3)  # both looks are over before the second picture is described
    workspace.add(film, clip(frames=240, fps=5, gop=5, first=1000))
    await workspace.enrich(RunOptions(limit=9))
    even = CoverageOrder(48.0)
    for begin in (0, 1000):
        numbers = [number - begin for number in standin.described if begin <= number < begin + 240]
        assert len(numbers) >= 3
        for rank, number in enumerate(numbers, 1):
            assert number / 5 == pytest.approx(even.moment(rank), abs=even.gap(LOOKED_AT) / 2)


async def test_only_extracting_looks_at_nothing(workspace: Workspace, film: Path) -> None:
    workspace.add(film, sampling="every=2s")
    summary = await workspace.worker(RunOptions(describe=False), None).run()
    assert summary.ending is RunEnd.FINISHED
    assert sought(workspace) == set()
    assert workspace.tasks("skim") == {"done": 1}


async def test_a_look_that_is_cut_short_goes_on_and_finds_nothing_twice(
    workspace: Workspace, standin: StandIn, film: Path
) -> None:
    workspace.add(film, sampling="every=2s")
    stop = threading.Event()
    with writing(workspace.library.engine) as connection:
        [job] = queue.claim(connection, kind=TaskKind.SKIM, run_id=None, host="here", limit=1, now=datetime.now(UTC))
    skim_video(workspace.library, job, passes=("deep",), stop=stop, on_frames=stop.set)
    assert len(workspace.frames()) == 1
    assert workspace.tasks("skim") == {"todo": 1}
    await workspace.enrich()
    assert LOOKED_AT - 3 <= len(sought(workspace)) <= LOOKED_AT
    assert len(standin.described) == len(set(standin.described)) == len(workspace.frames())
    assert_truthful(workspace)


async def test_films_that_wait_to_be_decoded_are_looked_at_again_when_the_rest_is_finer(
    workspace: Workspace, standin: StandIn, film: Path, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first film is not decoded before the second has been looked at more deeply than at first."""
    go_on = threading.Event()
    extract = decoder.extract_video
    taken: list[int] = []

    def extract_video(*arguments: object, **named: object) -> bool:
        go_on.wait(20)
        return extract(*arguments, **named)  # type: ignore[arg-type]

    deeper = extraction.skim_deeper

    def look_deeper(*arguments: object, **named: int) -> bool:
        taken.append(named["pictures"])
        done = deeper(*arguments, **named)  # type: ignore[arg-type]
        go_on.set()
        return done

    monkeypatch.setattr(decoder, "extract_video", extract_video)
    monkeypatch.setattr(extraction, "skim_deeper", look_deeper)
    workspace.add(clip(frames=600, fps=5, gop=5), sampling="every=1s")
    with writing(workspace.library.engine) as connection:
        connection.exec_driver_sql("""UPDATE tasks SET payload = '{"pictures": 6, "taken": 0}' WHERE kind = 'skim'""")
    await workspace.enrich()
    assert taken[0] == 12
    assert len(sought(workspace)) <= 6
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 600
    assert_truthful(workspace)


async def test_a_picture_found_when_decoding_had_passed_it_still_gets_its_place(
    workspace: Workspace, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.add(film, sampling="every=5s")
    unplaced = extraction.unplaced_frames
    asked: list[int] = []

    def late(*arguments: object) -> list[tuple[int, float]]:
        asked.append(len(asked))
        return [] if asked == [0, 1] else unplaced(*arguments)  # type: ignore[arg-type]  # 0: the look, 1: extraction

    monkeypatch.setattr(extract_task.skims, "unplaced", late)
    await workspace.enrich()
    frames = workspace.frames()
    assert len(frames) > 10
    for frame, after in zip(frames, [*frames[1:], None], strict=True):
        assert frame.index is not None
        assert frame.index + (frame.stands_for or 0) == (240 if after is None else after.index)
    assert_truthful(workspace)


async def test_a_picture_at_a_time_the_film_does_not_have_is_dropped(workspace: Workspace, film: Path) -> None:
    workspace.add(film, sampling="every=5s")
    await workspace.worker(RunOptions(describe=False), None).run()
    workspace.change("UPDATE tasks SET status = 'todo' WHERE kind = 'extract'")
    workspace.change(
        "INSERT INTO frames (video_id, timestamp, image_path, is_keyframe) VALUES (1, 7.123, 'nowhere.jpg', 0)"
    )
    await workspace.worker(RunOptions(describe=False), None).run()
    assert 7.123 not in [frame.timestamp for frame in workspace.frames()]
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 240


async def test_what_somebody_asks_for_goes_first_and_starves_nothing(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(clip(frames=40), clip(frames=40, first=1000))
    await workspace.worker(RunOptions(describe=False), None).run()
    with writing(workspace.library.engine) as connection:
        asked_for = editing.prioritize(connection, 2, PriorityRange(start=0.5), priority=REQUEST_PRIORITY)
    await workspace.enrich()
    second = [number >= 1000 for number in standin.described]
    assert asked_for == sum(frame.timestamp >= 0.5 for frame in workspace.frames(2))
    half = second[: asked_for + asked_for // 3]
    assert sum(half) >= 0.6 * len(half)
    assert half.count(False) >= asked_for // 8
    assert len(standin.described) == 80


async def test_a_wish_for_a_film_that_is_not_decoded_is_kept_until_it_is(
    workspace: Workspace, standin: StandIn, clip: Clip
) -> None:
    workspace.add(clip(frames=30), clip(frames=30, first=1000))
    with writing(workspace.library.engine) as connection:
        assert editing.prioritize(connection, 2, PriorityRange(0.2, 0.4), priority=REQUEST_PRIORITY) == 0
    await workspace.worker(RunOptions(describe=False), None).run()
    rows = workspace.ask(
        "SELECT timestamp, priority FROM frames JOIN tasks ON frame_id = frames.id WHERE frames.video_id = 2"
    )
    assert {row.timestamp for row in rows if row.priority == REQUEST_PRIORITY} == {
        row.timestamp for row in rows if 0.2 <= row.timestamp <= 0.4
    }
    assert workspace.value("SELECT count(*) FROM tasks WHERE video_id = 1 AND priority > 900000000") == 0


async def test_the_even_order_leaves_every_film_about_evenly_covered(
    make_workspace: Callable[..., Workspace], film: Path, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(film, clip(frames=120, fps=5, gop=5), sampling="every=1s")
    await workspace.worker(RunOptions(describe=False), None).run()
    for _ in range(4):
        await workspace.enrich(RunOptions(limit=12))
        gaps = []
        for number, seconds in ((1, 48.0), (2, 24.0)):
            times = [frame.timestamp for frame in workspace.frames(number) if frame.local_description]
            gaps.append(max(after - before for before, after in zip(times, [*times[1:], seconds], strict=True)))
            assert gaps[-1] <= 2 * seconds / len(times) + 1  # pictures there are only once a second
        assert abs(gaps[0] - gaps[1]) <= 0.6 * max(gaps) + 1


async def test_between_unlike_neighbours_the_middle_is_described_next(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Clip
) -> None:
    workspace = make_workspace(concurrency=1)
    workspace.add(clip(frames=60, fps=5), sampling="exact")
    await workspace.enrich(RunOptions(limit=30))
    filled = workspace.ask("SELECT frame_id FROM tasks WHERE priority = :fill", fill=FILL_PRIORITY)
    assert 3 <= len(filled) <= 10


def test_the_bands_of_priorities_lie_apart() -> None:
    assert (
        CoverageOrder(None).priority(0.0, 1.0)
        <= GAP_LIMIT
        < FILL_PRIORITY
        < SKIM_PRIORITY - 50
        < REQUEST_PRIORITY
        < 2**31
    )


async def test_a_film_that_is_gone_is_looked_at_when_it_is_back(
    workspace: Workspace, film: Path, tmp_path: Path
) -> None:
    here = tmp_path / "film.mp4"
    here.write_bytes(film.read_bytes())
    workspace.add(here, sampling="every=2s")
    here.rename(tmp_path / "away.mp4")
    summary = await workspace.enrich()
    assert [title for title, _ in summary.waiting] == ["film"]
    assert workspace.tasks("skim") == {"todo": 1}
    (tmp_path / "away.mp4").rename(here)
    await workspace.enrich()
    assert sought(workspace)
    with reading(workspace.library.engine) as connection:
        assert extraction.unplaced_frames(connection, 1) == []
    assert_truthful(workspace)
