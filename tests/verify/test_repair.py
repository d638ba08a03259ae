"""Repairs: a wrong image takes its description with it, wrong positions are extracted again, nothing else is lost."""

import asyncio
from collections.abc import Callable
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import counts, editing, queue, quick, search, store
from db.engine import reading, writing
from db.models import DEEP, QUICK, TaskKind
from db.reservations import Describing
from enrich.verify import images
from enrich.verify import verify as verify_module
from enrich.verify.findings import FindingKind as Kind
from enrich.verify.verify import verify
from tests.clips import image_clip, numbered_clip, numbered_image, read_jpeg, read_number
from tests.standin import StandIn, Trick
from tests.verify.test_verify import BROKEN, found, swap_images, swap_paths, turn_image_over
from tests.worker.workspace import Workspace, assert_truthful, truthful

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SWAPPED = (3, 9)  # frames of video 2


def describe_swapped(library: Workspace) -> None:
    """Swap two images, and have both frames described from the wrong ones."""
    swap_images(library)
    for number in SWAPPED:
        frame = library.frames(2)[number]
        library.change("UPDATE tasks SET status = 'todo' WHERE frame_id = :id", id=frame.id)
    asyncio.run(library.enrich())
    assert [library.frames(2)[number].local_description for number in SWAPPED] == [truthful(109), truthful(103)]


def calls(library: Workspace) -> list[Any]:
    return library.ask("SELECT * FROM analyses ORDER BY id")


def hits(library: Workspace, words: str) -> list[int]:
    with reading(library.library.engine) as connection:
        found = search.search(connection, words, video_ids=[2])
        return sorted(hit.index or 0 for hit in found.hits) if found.every_word else []


def test_words_of_a_wrong_image_are_discarded_and_made_again(library: Workspace) -> None:
    describe_swapped(library)
    before = calls(library)
    assert hits(library, "number 109") == [3]
    result = verify(library.library, repair=True)
    assert (result.found, result.repaired, result.discarded.deep, result.queued) == (2, 2, 2, [])
    for number in SWAPPED:
        frame = library.frames(2)[number]
        assert (frame.description, frame.local_tags, frame.enriched_at, frame.error) == (None, None, None, None)
    assert hits(library, "number 109") == hits(library, "number 103") == []
    assert library.tasks() == {"done": 16, "todo": 2}
    assert (library.video(2).described, library.video(2).enrichment_status) == (10, "enriching")
    assert calls(library) == before
    assert found(library) == {}
    asyncio.run(library.enrich())
    assert_truthful(library, 2, first=100)
    assert hits(library, "number 109") == [9]
    again = verify(library.library)
    assert (again.groups, astuple(again.discarded)) == ([], (0, 0))
    assert library.video(2).enrichment_status == "enriched"


@pytest.mark.parametrize(("name", "stays"), [("deleted", True), ("truncated", True), ("shrunk", True),
                                             ("turned", False), ("upside down", False)])  # fmt: skip
def test_words_stay_if_they_were_of_the_right_picture(library: Workspace, name: str, stays: bool) -> None:
    BROKEN[name][0](library)
    result = verify(library.library, repair=True)
    assert result.is_consistent
    assert (library.frames(2)[3].local_description == truthful(103)) == stays
    assert result.discarded.deep == (not stays)
    assert library.tasks() == ({"done": 18} if stays else {"done": 17, "todo": 1})


def test_words_of_a_wrong_image_go_in_a_quick_check_too(library: Workspace) -> None:
    BROKEN["turned"][0](library)
    assert verify(library.library, quick=True, repair=True).discarded.deep == 1
    assert library.frames(2)[3].local_description is None


def test_text_of_a_person_survives_a_wrong_image(library: Workspace) -> None:
    swap_images(library)
    one, other = (library.frames(2)[number].id for number in SWAPPED)
    with writing(library.library.engine) as connection:
        editing.edit_frame(connection, one, description="Erna laughs", tags=None, now=NOW)
        editing.edit_frame(connection, other, description=None, tags=["Erna"], now=NOW)
        for frame_id in (one, other):
            editing.approve_frame(connection, frame_id, is_approved=True, now=NOW)
    assert verify(library.library, repair=True).discarded.deep == 2
    first, second = (library.frames(2)[number] for number in SWAPPED)
    assert (first.description, first.edited_at, first.reviewed_at) == ("Erna laughs", NOW, NOW)
    assert (second.description, second.tags, second.edited_at) == (None, ["Erna"], NOW)
    assert second.reviewed_at is None  # the approved text is gone
    assert hits(library, "Erna") == [3, 9]
    assert hits(library, "number 103") == hits(library, "number 109") == []
    assert found(library) == {}
    asyncio.run(library.enrich())
    assert hits(library, "Erna number 109") == [9]
    with writing(library.library.engine) as connection:
        editing.restore_frame(connection, one)
    assert library.frames(2)[3].description == truthful(103)
    assert hits(library, "black squares number 103") == [3]
    assert found(library) == {}


def test_paid_quick_descriptions_are_discarded_but_not_paid_again(library: Workspace) -> None:
    frame = library.frames(2)[3]
    call = store.NewAnalysis(
        describer="claude", model="haiku", model_digest="", host="api.anthropic.com", prompt_version="1",
        latency_seconds=1.0, load_seconds=0.0, prompt_tokens=1, output_tokens=1, cost_usd=0.01,
        raw_reply='{"description": "A cat."}', warnings=[{"problem": "cut_off", "detail": ""}], is_kept=True,
    )  # fmt: skip
    described = quick.NewQuickDescription("A cat.", ("cat",), "other", 3.0, "A cat.", ("cat",))
    asked = Describing("claude", "haiku", "1")
    with writing(library.library.engine) as connection:
        quick.set_key_frames(connection, 2, [frame.id])
        quick.save_quick_description(connection, frame.id, described, [call], now=NOW)
        assert quick.sent_frames(connection, [frame.id], asked) == {frame.id: quick.Sent.ANSWERED}
    assert hits(library, "cat") == [3]
    swap_images(library)
    result = verify(library.library, repair=True)
    assert astuple(result.discarded) == (2, 1)
    frame = library.frames(2)[3]
    assert (frame.quick_description, frame.event_type, frame.excitement, frame.warnings) == (None, None, None, [])
    assert hits(library, "cat") == []
    assert library.tasks("describe", QUICK) == {}
    with writing(library.library.engine) as connection:
        assert quick.sent_frames(connection, [frame.id], asked) == {}  # may be asked for again
        quick.save_quick_description(connection, frame.id, described, [call], now=NOW)
    assert verify(library.library).discarded.quick == 0


async def test_a_measured_quick_description_is_queued_again(
    make_workspace: Callable[..., Workspace], videos: Path
) -> None:
    workspace = make_workspace(describer="baseline")
    workspace.add(videos / "numbers.mp4", videos / "party.mp4")
    await workspace.enrich()
    measured = [frame.quick_description for frame in workspace.frames(2)]
    swap_images(workspace)
    assert verify(workspace.library, repair=True).is_consistent
    assert workspace.tasks("describe", QUICK) == {"done": 40, "todo": 2}
    assert [frame.quick_description is None for frame in workspace.frames(2)].count(True) == 2
    await workspace.enrich()
    assert [frame.quick_description for frame in workspace.frames(2)] == measured
    assert found(workspace) == {}


def test_a_reply_about_the_wrong_image_in_flight_is_rejected(library: Workspace) -> None:
    swap_images(library)
    frame = library.frames(2)[3]
    with writing(library.library.engine) as connection:
        task = queue.take_over(connection, video_id=2, frame_id=frame.id, pass_=DEEP, host="here", now=NOW)
    assert verify(library.library, repair=True).discarded.deep == 2
    wrong = store.NewDescription("A cat.", ["cat"], "A cat.", ["cat"])
    with pytest.raises(queue.LeaseLostError), writing(library.library.engine) as connection:
        store.save_description(connection, task, wrong, analyses=[], now=NOW, run_id=None)
    assert library.frames(2)[3].description is None


def test_a_kill_before_the_image_is_written_leaves_no_wrong_words(
    library: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_images(library)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(images, "write_jpeg", killed)
        with pytest.raises(KeyboardInterrupt):
            verify(library.library, repair=True)
    assert library.frames(2)[3].description is None
    assert library.tasks() == {"done": 17, "doing": 1}  # nobody else describes the wrong image
    assert verify(library.library, repair=True).repaired == 2
    assert library.tasks() == {"done": 16, "todo": 2}


def test_swapped_image_paths_are_corrected(library: Workspace) -> None:
    swap_paths(library)
    assert verify(library.library, repair=True).repaired == 2
    assert [read_number(read_jpeg(library.image(frame))) for frame in library.frames(2)] == list(range(100, 112))
    assert verify(library.library).discarded.deep == 2
    asyncio.run(library.enrich())
    assert_truthful(library, 2, first=100)
    assert found(library) == {}


@pytest.mark.parametrize(
    "name",
    [
        "index",
        "no index",
        "index beyond",
        "stands for",
        "stands for nothing",
        "last stands for",
        "frame count",
        "scene",
    ],
)
def test_wrong_positions_are_extracted_again_and_keep_their_words(library: Workspace, name: str) -> None:
    kinds = BROKEN[name][1]
    video_id = 1 if name == "last stands for" else 2
    title = library.video(video_id).title
    rows = 'SELECT id, timestamp, "index", stands_for, scene, local_description FROM frames ORDER BY id'
    before, said = library.ask(rows), calls(library)
    BROKEN[name][0](library)
    result = verify(library.library, repair=True)
    assert {group.kind: group.count for group in result.groups} == kinds
    assert (result.repaired, result.queued, result.discarded.deep) == (0, [title], 0)
    assert not result.is_consistent  # not before the extraction
    assert {group.remedy for group in result.groups} == {
        "the video is queued for extraction again: run `everyframe enrich`"
    }
    asyncio.run(library.enrich())
    assert (library.ask(rows), calls(library)) == (before, said)
    assert found(library) == {}
    with reading(library.library.engine) as connection:
        assert counts.stored_counts(connection, video_id) == counts.actual_counts(connection, video_id)
    assert library.video(video_id).enrichment_status == "enriched"


def test_a_quick_check_queues_wrong_positions_too(library: Workspace) -> None:
    BROKEN["stands for"][0](library)
    assert verify(library.library, quick=True, repair=True).queued == ["party"]
    asyncio.run(library.enrich())
    assert found(library) == {}


def test_an_extraction_in_progress_loses_its_claim_when_it_is_queued_again(library: Workspace) -> None:
    BROKEN["stands for"][0](library)
    library.change("UPDATE tasks SET status = 'todo' WHERE video_id = 2 AND kind = 'extract'")
    with writing(library.library.engine) as connection:
        wanted = queue.TaskFilter(TaskKind.EXTRACT)
        [task] = queue.claim(connection, wanted, run_id=None, host="here", limit=1, now=NOW)
    assert verify(library.library, repair=True).queued == ["party"]
    with writing(library.library.engine) as connection:
        assert queue.renew(connection, [task], now=NOW) == 0


def test_a_wrong_time_is_corrected_and_keeps_its_words(library: Workspace) -> None:
    BROKEN["timestamp"][0](library)
    result = verify(library.library, repair=True)
    assert (result.repaired, result.queued, result.discarded.deep) == (1, [], 0)
    assert found(library) == {}
    assert_truthful(library, 2, first=100)


def test_a_wrong_time_with_a_wrong_image_loses_its_words(library: Workspace) -> None:
    BROKEN["timestamp"][0](library)
    turn_image_over(library)
    assert verify(library.library, repair=True).discarded.deep == 1
    asyncio.run(library.enrich())
    assert_truthful(library, 2, first=100)
    assert found(library) == {}


def test_swapped_positions_of_two_frames_lose_their_words(library: Workspace) -> None:
    """Both rows refer to another source frame, and so do their words."""
    one, other = (library.frames(2)[number] for number in SWAPPED)
    library.change("UPDATE frames SET timestamp = -1 WHERE id = :id", id=one.id)
    place = 'UPDATE frames SET "index" = :number, timestamp = :at WHERE id = :id'
    library.change(place, number=one.index, at=one.timestamp, id=other.id)
    library.change(place, number=other.index, at=other.timestamp, id=one.id)
    assert found(library) == {Kind.IMAGE_DIFFERENT: 2}
    assert verify(library.library, repair=True).discarded.deep == 2
    asyncio.run(library.enrich())
    assert_truthful(library, 2, first=100)
    assert found(library) == {}


def noise_clip(path: Path) -> Path:
    """Large images without key frames after the first, so that damage spreads."""
    generator = np.random.default_rng(1)
    still = generator.integers(0, 255, (180, 320, 3), np.uint8)
    images = (np.where(numbered_image(number) > 0, numbered_image(number), still) for number in range(40))
    return image_clip(path, images)


@pytest.mark.slow
def test_images_are_not_replaced_from_a_file_damaged_since(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = noise_clip(tmp_path / "video.mp4")
    workspace.add(path)
    asyncio.run(workspace.enrich())
    words = [frame.description for frame in workspace.frames()]
    monkeypatch.setattr(verify_module, "require_same_file", lambda _: None)  # small files show every change
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    path.write_bytes(data)
    files = {file: file.read_bytes() for file in workspace.frames_folder.rglob("*.jpg")}
    result = verify(workspace.library, repair=True)
    assert Kind.DAMAGED in {group.kind for group in result.groups}
    assert (result.repaired, result.queued, result.discarded.deep) == (0, [], 0)
    assert {file: file.read_bytes() for file in workspace.frames_folder.rglob("*.jpg")} == files
    assert [frame.description for frame in workspace.frames()] == words


def test_many_wrong_images_are_replaced_in_bounded_memory(library: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_HELD_BYTES", 1)
    swap_images(library)
    assert verify(library.library, repair=True).repaired == 2
    assert found(library) == {}


def test_words_that_cannot_be_made_again_are_reported_as_failed(
    library: Workspace, standin: StandIn, short_pauses: None
) -> None:
    swap_images(library)
    verify(library.library, repair=True)
    standin.play(Trick.EMPTY, frames={103}, stubborn=True)
    asyncio.run(library.enrich())
    assert library.tasks() == {"done": 17, "failed": 1}
    assert library.frames(2)[3].description is None
    assert found(library) == {}


def test_a_raw_stream_that_cannot_be_sought_is_repaired(workspace: Workspace, tmp_path: Path) -> None:
    workspace.add(numbered_clip(tmp_path / "raw.h264", frames=12))
    asyncio.run(workspace.enrich())
    assert found(workspace) == found(workspace, quick=True) == {}
    files = [workspace.image(frame) for frame in workspace.frames()]
    files[4].write_bytes(files[7].read_bytes())
    files[9].unlink()
    assert verify(workspace.library, quick=True, repair=True).repaired == 1
    assert verify(workspace.library, repair=True).discarded.deep == 1
    asyncio.run(workspace.enrich())
    assert_truthful(workspace)
    assert found(workspace) == {}
