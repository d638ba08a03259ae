"""Interruptions of skimming and extraction at random points change nothing: rows, counts, images and words.

Interruptions are a stop request, and a kill: an exception before or after a transaction commits, after which the tasks
are reclaimed. `tests/night/test_interruptions.py` kills real processes on real footage.
"""

import contextlib
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from db import counts, editing, extraction, queue, store
from db.engine import reading, writing
from db.models import DEEP, Frame, TaskKind
from db.queries import VideoRow
from enrich.clock import parse_hours
from enrich.verify.findings import FindingKind
from enrich.verify.verify import verify
from enrich.video import extraction as video_extraction
from enrich.video.selection import FrameSelection
from enrich.worker import extract_task, skim_task
from enrich.worker.extract_task import ExtractionProgress, extract_video
from enrich.worker.run_options import RunOptions
from enrich.worker.skim_task import skim_video
from tests.clips import image_clip, numbered_image
from tests.db.library import describe
from tests.waiting import until
from tests.worker.workspace import OPEN_LATER, OPEN_NOW, Running, Workspace

SEEDS = range(int(os.environ.get("EVERYFRAME_TEST_SEEDS", "2")))  # of each case
FRAMES = 120
GOP_FRAMES = 8
MOST_INTERRUPTIONS = 6  # per run; the next attempt is left alone
SAMPLINGS = ("exact", "every=700ms", "scenes", "distinct", "distinct:strict")
FAST = ("every=700ms", "distinct")  # the others take long
LATER = timedelta(seconds=2 * queue.LEASE_SECONDS)


class Killed(BaseException):
    """The process would have ended here."""


@pytest.fixture(scope="session")
def lively_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 s at 4 frames per second, with cuts, stretches without change, and a key frame every 2 s."""
    draw = random.Random(1)
    numbers: list[int] = []
    while len(numbers) < FRAMES:
        numbers += [draw.randrange(1 << 12)] * draw.choice((1, 1, 2, 9, 20))
    images = (numbered_image(number, (160, 96)) for number in numbers[:FRAMES])
    return image_clip(tmp_path_factory.mktemp("lively") / "lively.mp4", images, fps=4, gop=GOP_FRAMES, bframes=2)


@pytest.fixture(autouse=True)
def frequent_saves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves after few frames, and a checkpoint at every key frame."""
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 3)
    monkeypatch.setattr(skim_task, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(video_extraction, "CHECKPOINT_SECONDS", 0.0)


class Interruptions:
    """Interrupts at random saves. Usable as the `on_frames` of a task and inside its transaction."""

    def __init__(self, seed: int | None) -> None:
        self.draw = random.Random(seed)
        self.left = MOST_INTERRUPTIONS if seed is not None else 0
        self.done = 0
        self.stop = threading.Event()
        self.extracting: ExtractionProgress | None = None

    def begin(self) -> None:
        self.stop.clear()
        self.extracting = None

    def before_commit(self) -> None:
        if self._is_due():
            raise Killed

    def after_commit(self) -> None:
        if not self._is_due():
            return
        if self.draw.random() < 0.5:
            raise Killed
        self.stop.set()
        if self.extracting is not None:
            threading.Thread(target=self.extracting.extraction.close, name="everyframe-test-stop").start()

    def _is_due(self) -> bool:
        if self.left == 0 or self.stop.is_set() or self.draw.random() > 0.12:
            return False
        self.left -= 1
        self.done += 1
        return True


@pytest.fixture
def interruptible(monkeypatch: pytest.MonkeyPatch) -> Callable[[Interruptions], None]:
    """Interrupts the transactions that save frames from now on."""
    save_frames, save_checkpoint = store.save_frames, extraction.save_checkpoint

    def install(interruptions: Interruptions) -> None:
        def save(*arguments: Any, **options: Any) -> int:
            count = save_frames(*arguments, **options)
            interruptions.before_commit()
            return count

        def save_point(*arguments: Any, **options: Any) -> None:
            save_checkpoint(*arguments, **options)
            interruptions.before_commit()

        monkeypatch.setattr(store, "save_frames", save)
        monkeypatch.setattr(extraction, "save_checkpoint", save_point)

    return install


def attempt(workspace: Workspace, kind: TaskKind, interruptions: Interruptions) -> None:
    """Claim and work on the video's task of this kind, until it ends or is interrupted."""
    now = datetime.now(UTC)
    with writing(workspace.library.engine) as connection:
        queue.sweep(connection, now=now + LATER)
        wanted = queue.TaskFilter(kind)
        [task] = queue.claim(connection, wanted, run_id=None, host="here", limit=1, now=now)
    interruptions.begin()
    how: dict[str, Any] = {"passes": (DEEP,), "stop": interruptions.stop, "on_frames": interruptions.after_commit}
    if kind is TaskKind.SKIM:
        skim_video(workspace.library, task, **how)
        return

    def began(progress: ExtractionProgress) -> None:
        interruptions.extracting = progress

    extract_video(workspace.library, task, on_begin=began, **how)


def process(workspace: Workspace, interruptions: Interruptions, *, skims: bool) -> set[float]:
    """Skim and extract, however often that is interrupted, and describe some frames in between.

    Returns the timestamps of the described frames.
    """
    described: set[float] = set()
    for kind in (TaskKind.SKIM, TaskKind.EXTRACT) if skims else (TaskKind.EXTRACT,):
        while workspace.tasks(kind) != {"done": 1}:
            with contextlib.suppress(Killed):
                attempt(workspace, kind, interruptions)
            with writing(workspace.library.engine) as connection:
                frames = [frame for frame in workspace.frames() if frame.local_description is None]
                for frame in interruptions.draw.sample(frames, len(frames) // 5):
                    describe(connection, frame.id, f"words of {frame.timestamp}")
                    described.add(frame.timestamp)
    return described


def outcome(workspace: Workspace) -> tuple[VideoRow, list[tuple[Any, ...]]]:
    """The video, and its frames with a digest of each image."""
    frames = [
        (frame.index, frame.timestamp, frame.stands_for, frame.scene, frame.dhash, frame.sharpness, frame.motion,
         frame.image_path, hashlib.sha256(workspace.image(frame).read_bytes()).hexdigest())
        for frame in workspace.frames()
    ]  # fmt: skip
    return workspace.video(), frames


@pytest.mark.parametrize("skims", [False, True], ids=["extracted", "skimmed first"])
@pytest.mark.parametrize(
    "sampling", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SAMPLINGS]
)
def test_interruptions_change_neither_rows_nor_counts_nor_words(
    make_workspace: Callable[..., Workspace], interruptible: Any, lively_clip: Path, sampling: str, skims: bool
) -> None:
    undisturbed = make_workspace("undisturbed")
    undisturbed.add(lively_clip, sampling=sampling)
    process(undisturbed, Interruptions(None), skims=skims)
    video, frames = outcome(undisturbed)
    assert sum(row[2] for row in frames) == video.frame_count == FRAMES
    for seed in SEEDS:
        workspace = make_workspace(f"seed-{seed}")
        workspace.add(lively_clip, sampling=sampling)
        interruptions = Interruptions(seed)
        interruptible(interruptions)
        described = process(workspace, interruptions, skims=skims)
        again, rows = outcome(workspace)
        assert interruptions.done, f"seed {seed} interrupts nothing"
        assert rows == frames, f"seed {seed}"
        assert (again.frame_count, again.decode_failures, again.kept) == (FRAMES, 0, len(frames)), f"seed {seed}"
        assert again.described == len(described), f"seed {seed}"
        for frame in workspace.frames():
            words = f"words of {frame.timestamp}" if frame.timestamp in described else None
            assert frame.local_description == words, f"seed {seed}"
        interruptible(Interruptions(None))


async def test_video_longer_than_its_working_hours_gets_the_same_rows(
    make_workspace: Callable[..., Workspace], lively_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = make_workspace("undisturbed")
    undisturbed.add(lively_clip, sampling="distinct")
    await undisturbed.enrich(RunOptions(describe=False))
    taken = 0
    take = FrameSelection.take

    def slowly(*arguments: Any) -> Any:
        nonlocal taken
        taken += 1
        time.sleep(0.01)
        return take(*arguments)

    monkeypatch.setattr(FrameSelection, "take", slowly)
    workspace = make_workspace("nights").with_settings(hours=OPEN_NOW)
    workspace.add(lively_clip, sampling="distinct")
    nights = 0
    async with Running(workspace, RunOptions(until_idle=False, keeps_hours=True, describe=False)) as running:
        while workspace.tasks("extract") != {"done": 1}:
            nights += 1
            end = taken + FRAMES // 3  # too early for the whole video
            running.worker._pause.hours = parse_hours(OPEN_NOW)

            def is_late(end: int = end) -> bool:
                return taken >= end or workspace.tasks("extract") == {"done": 1}

            await until(is_late, "hours of work")
            running.worker._pause.hours = parse_hours(OPEN_LATER)
            await until(lambda: workspace.states_of_runs() == ["waiting"], "the hours end")
    assert nights >= 3
    assert taken <= FRAMES + nights * 4 * GOP_FRAMES, "decoding continues instead of starting over"
    assert outcome(workspace)[1] == outcome(undisturbed)[1]


async def test_frames_of_an_interrupted_older_version_are_counted_once(workspace: Workspace, lively_clip: Path) -> None:
    """Extraction was interrupted before there were checkpoints, by a version that chose other frames."""
    workspace.add(lively_clip, sampling="distinct")
    await workspace.enrich(RunOptions(describe=False))
    expected = [(frame.index, frame.timestamp) for frame in workspace.frames()]
    kept = {index for index, _ in expected}
    stale = [index for index in range(FRAMES) if index not in kept][:12]
    workspace.change("DELETE FROM checkpoints")
    workspace.change("UPDATE tasks SET status = 'todo' WHERE kind = 'extract'")
    workspace.change("UPDATE frames SET stands_for = 9")
    for index in stale:
        workspace.change(
            'INSERT INTO frames (video_id, timestamp, "index", stands_for, image_path, is_keyframe) '
            "VALUES (1, :time, :index, 5, 'old.jpg', 0)",
            time=index / 4,
            index=index,
        )
    described, edited = stale[1], stale[7]
    with writing(workspace.library.engine) as connection:
        store.plan_pass(connection, DEEP)
        ids = {frame.index: frame.id for frame in workspace.frames()}
        describe(connection, ids[described], "a described frame")
        editing.edit_frame(connection, ids[edited], description="by a person", tags=[], now=datetime.now(UTC))

    await workspace.enrich(RunOptions(describe=False))

    frames = workspace.frames()
    assert {frame.index for frame in frames} == kept | {described, edited}
    ends = [*(frame.index for frame in frames[1:]), FRAMES]
    assert [frame.stands_for for frame in frames] == [
        end - frame.index for frame, end in zip(frames, ends, strict=True)
    ]
    texts = {frame.index: frame.edited_description or frame.local_description for frame in frames}
    assert (texts[described], texts[edited]) == ("a described frame", "by a person")
    with reading(workspace.library.engine) as connection:
        assert counts.stored_counts(connection, 1) == counts.actual_counts(connection, 1)


WRONG_POSITIONS = {  # of a described frame that extraction keeps, and of one that it does not
    "far ahead": '"index" = 100',
    "far back": '"index" = 1',
    "that of another frame": '"index" = (SELECT "index" FROM frames WHERE id = 3)',
    "beyond the end": '"index" = 900',
    "one too far": '"index" = "index" + 1',
}


@pytest.mark.parametrize("frame", ["kept", "stale"])
@pytest.mark.parametrize("position", WRONG_POSITIONS)
async def test_wrong_position_of_a_described_frame_is_corrected(
    workspace: Workspace, lively_clip: Path, position: str, frame: str
) -> None:
    workspace.add(lively_clip, sampling="distinct")
    await workspace.enrich(RunOptions(describe=False))
    with writing(workspace.library.engine) as connection:
        kept = {row.index for row in workspace.frames()}
        stale = next(index for index in range(FRAMES // 2, FRAMES) if not {index, index + 1} & kept)
        values = {"video_id": 1, "timestamp": stale / 4, "index": stale, "image_path": "old.jpg", "is_keyframe": False}
        connection.execute(insert(Frame), [values])
        store.plan_pass(connection, DEEP)
    rows = workspace.frames()
    changed = next(row for row in rows if row.index == (stale if frame == "stale" else rows[-3].index))
    with writing(workspace.library.engine) as connection:
        for row in rows:
            describe(connection, row.id, f"words of {row.timestamp}")
    workspace.change(f"UPDATE frames SET {WRONG_POSITIONS[position]} WHERE id = :id", id=changed.id)  # noqa: S608  # our own
    assert verify(workspace.library, repair=True).queued == ["lively"]

    await workspace.enrich(RunOptions(describe=False))

    assert [(row.index, row.timestamp) for row in workspace.frames()] == [(row.index, row.timestamp) for row in rows]
    assert all(row.local_description == f"words of {row.timestamp}" for row in workspace.frames())
    again = verify(workspace.library)
    assert {group.kind for group in again.groups} <= {FindingKind.REPLY}, "the words of this test have no reply"
    assert workspace.value("SELECT sum(stands_for) FROM frames") == FRAMES


async def test_work_at_a_time_without_a_source_frame_is_kept(workspace: Workspace, lively_clip: Path) -> None:
    workspace.add(lively_clip, sampling="distinct")
    for time_of_frame in (0.1, 0.6):
        workspace.change(
            "INSERT INTO frames (video_id, timestamp, image_path, is_keyframe) VALUES (1, :time, 'old.jpg', 0)",
            time=time_of_frame,
        )
    edited = workspace.frames()[1]
    with writing(workspace.library.engine) as connection:
        editing.edit_frame(connection, edited.id, description="by a person", tags=[], now=datetime.now(UTC))

    await workspace.enrich(RunOptions(describe=False))

    [row] = [row for row in workspace.frames() if row.index is None]
    assert (row.id, row.description) == (edited.id, "by a person")
