"""Verification: each thing is broken for real, and named."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import simplejpeg

from db import editing, runs
from db.engine import writing
from enrich.process import this_process
from enrich.verify.findings import MAX_PLACES, FindingGroup
from enrich.verify.findings import FindingKind as Kind
from enrich.verify.verify import VerifyResult, verify
from tests.clips import image_clip, numbered_clip, numbered_image, read_jpeg, read_number, shared_videos
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace


def found(workspace: Workspace, **how: bool) -> dict[Kind, int]:
    """How many findings there are of each kind."""
    counts: dict[Kind, int] = {}
    for group in verify(workspace.library, **how).groups:
        counts[group.kind] = counts.get(group.kind, 0) + group.count
    return counts


def the_group(verdict: VerifyResult) -> FindingGroup:
    [group] = verdict.groups
    return group


def test_a_consistent_library_has_no_findings(library: Workspace) -> None:
    for quick in (False, True):
        verdict = verify(library.library, quick=quick)
        assert (verdict.videos, verdict.frames, verdict.groups, verdict.skipped) == (2, 18, [], [])
        assert verdict.is_consistent


def test_some_videos_can_be_checked_alone(library: Workspace) -> None:
    library.image(library.frames(2)[3]).unlink()
    assert verify(library.library, [1]).is_consistent
    verdict = verify(library.library, [2])
    assert (verdict.videos, verdict.frames, the_group(verdict).title) == (1, 12, "party")


async def test_rotated_video_edited_frame_and_baseline_are_consistent(
    make_workspace: Callable[..., Workspace], tmp_path: Path
) -> None:
    workspace = make_workspace(describer="baseline", stored_edge=160)
    workspace.add(numbered_clip(tmp_path / "side.mp4", frames=8, rotation=90))
    await workspace.enrich()
    assert found(workspace) == found(workspace, quick=True) == {}
    await workspace.with_settings(describer="ollama").enrich()
    with writing(workspace.library.engine) as connection:
        editing.edit_frame(connection, 3, description="Erna laughs", tags=None, now=datetime.now(UTC))
    assert found(workspace) == {}


async def test_flagged_replies_are_consistent(
    make_workspace: Callable[..., Workspace], standin: StandIn, videos: Path
) -> None:
    workspace = make_workspace()
    standin.play(Trick.CUT_OFF, frames={100, 101}, stubborn=True)
    standin.play(Trick.NOT_JSON, frames={102, 103})
    standin.play(Trick.CONTEXT_NAME, frames={104}, word="Erna", stubborn=True)
    standin.play(Trick.EMPTY, frames={105}, stubborn=True)
    workspace.add(videos / "party.mp4", context="Grandma Erna dances")
    await workspace.enrich()
    assert workspace.tasks("describe", "deep") == {"done": 11, "failed": 1}
    assert found(workspace) == {}


def test_a_video_not_extracted_yet_is_consistent(workspace: Workspace, videos: Path) -> None:
    workspace.add(videos / "party.mp4")
    assert verify(workspace.library).videos == 1
    assert found(workspace) == {}


def test_frames_not_reached_by_decoding_may_lack_index_and_motion(library: Workspace) -> None:
    library.change("UPDATE videos SET extraction_status = 'skimmed', enrichment_status = 'enriching' WHERE id = 1")
    library.change("UPDATE tasks SET status = 'todo' WHERE video_id = 1 AND kind = 'extract'")
    library.change(
        'UPDATE frames SET "index" = NULL, stands_for = NULL, scene = NULL, motion = NULL WHERE video_id = 1'
    )
    assert found(library) == {}
    library.change("UPDATE frames SET timestamp = 0.21 WHERE id = 2")
    assert found(library) == {Kind.NOT_IN_FILE: 1}


def delete_image(workspace: Workspace) -> None:
    workspace.image(workspace.frames(2)[3]).unlink()


def truncate_image(workspace: Workspace) -> None:
    path = workspace.image(workspace.frames(2)[3])
    path.write_bytes(path.read_bytes()[:-300])


def swap_images(workspace: Workspace) -> None:
    one, other = (workspace.image(workspace.frames(2)[number]) for number in (3, 9))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)


def swap_paths(workspace: Workspace) -> None:
    one, other = (workspace.frames(2)[number] for number in (3, 9))
    for frame, path in ((one, other.image_path), (other, one.image_path)):
        workspace.change("UPDATE frames SET image_path = :path WHERE id = :id", path=path, id=frame.id)


def fourth_image(workspace: Workspace) -> np.ndarray:
    return read_jpeg(workspace.image(workspace.frames(2)[3]))


def rewrite_image(workspace: Workspace, rgb: np.ndarray) -> None:
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), 85, "RGB", "420")
    workspace.image(workspace.frames(2)[3]).write_bytes(jpeg)


def turn_image(workspace: Workspace) -> None:
    rewrite_image(workspace, fourth_image(workspace).transpose(1, 0, 2))


def turn_image_over(workspace: Workspace) -> None:
    rewrite_image(workspace, fourth_image(workspace)[::-1, ::-1])


def shrink_image(workspace: Workspace) -> None:
    rewrite_image(workspace, cv2.resize(fourth_image(workspace), (160, 90), interpolation=cv2.INTER_AREA))


def leave_orphan(workspace: Workspace) -> None:
    path = workspace.image(workspace.frames(2)[3])
    shutil.copy(path, path.with_name("000000123456.jpg"))


def leave_half_a_image(workspace: Workspace) -> None:
    path = workspace.image(workspace.frames(2)[3])
    shutil.copy(path, path.with_name("000000123456.jpg.part"))


def leave_a_strangers_image(workspace: Workspace) -> None:
    folder = workspace.frames_folder / "123456-abcdef0" / "00000"
    folder.mkdir(parents=True)
    shutil.copy(workspace.image(workspace.frames(2)[3]), folder / "000000123456.jpg")


def change_video_file(workspace: Workspace) -> None:
    path = workspace.video(2).path
    own = workspace.settings.home / "party.mp4"
    own.write_bytes(Path(path).read_bytes() + b"\0")
    workspace.change("UPDATE videos SET path = :path WHERE id = 2", path=str(own))


def sql(*statements: str) -> Callable[[Workspace], None]:
    def change(workspace: Workspace) -> None:
        for statement in statements:
            workspace.change(statement.replace("THE FOURTH", FOURTH).replace("ITS OWN", ITS))

    return change


FOURTH = 'id = (SELECT id FROM frames WHERE video_id = 2 AND "index" = 3)'
ITS = 'frame_id = (SELECT id FROM frames WHERE video_id = 2 AND "index" = 3)'
BROKEN = {
    "deleted": (delete_image, {Kind.IMAGE_MISSING: 1}),
    "truncated": (truncate_image, {Kind.IMAGE_BROKEN: 1}),
    "swapped": (swap_images, {Kind.IMAGE_DIFFERENT: 2}),
    "paths swapped": (swap_paths, {Kind.IMAGE_DIFFERENT: 2}),
    "turned": (turn_image, {Kind.IMAGE_SIZE: 1}),
    "upside down": (turn_image_over, {Kind.IMAGE_DIFFERENT: 1}),
    "shrunk": (shrink_image, {Kind.IMAGE_SIZE: 1}),
    "orphan": (leave_orphan, {Kind.ORPHAN: 1}),
    "half": (leave_half_a_image, {Kind.ORPHAN: 1}),
    "stranger": (leave_a_strangers_image, {Kind.ORPHAN: 1}),
    "file": (change_video_file, {Kind.FILE: 1}),
    "index": (sql('UPDATE frames SET "index" = 4 WHERE THE FOURTH'), {Kind.NOT_IN_FILE: 1, Kind.CHAIN: 2}),
    "no index": (sql('UPDATE frames SET "index" = NULL WHERE THE FOURTH'),
                 {Kind.UNPLACED: 1, Kind.CHAIN: 1, Kind.COUNT: 1}),
    "index beyond": (sql('UPDATE frames SET "index" = 90 WHERE THE FOURTH'), {Kind.NOT_IN_FILE: 1, Kind.CHAIN: 2}),
    "timestamp": (sql("UPDATE frames SET timestamp = timestamp + 0.001 WHERE THE FOURTH"), {Kind.NOT_IN_FILE: 1}),
    "stands for": (sql("UPDATE frames SET stands_for = 2 WHERE THE FOURTH"), {Kind.CHAIN: 1, Kind.COUNT: 1}),
    "stands for nothing": (sql("UPDATE frames SET stands_for = NULL WHERE THE FOURTH"),
                           {Kind.UNPLACED: 1, Kind.CHAIN: 1, Kind.COUNT: 1}),
    "last stands for": (sql('UPDATE frames SET stands_for = 9 WHERE video_id = 1 AND "index" = 25'), {Kind.COUNT: 1}),
    "frame count": (sql("UPDATE videos SET frame_count = 13 WHERE id = 2"), {Kind.COUNT: 2}),
    "scene": (sql("UPDATE frames SET scene = 5 WHERE THE FOURTH"), {Kind.SCENE: 1}),
    "text": (sql("UPDATE frames SET local_description = 'A cat.' WHERE THE FOURTH"), {Kind.TEXT: 1}),
    "tags": (sql("UPDATE frames SET local_tags = '[\"cat\"]' WHERE THE FOURTH"), {Kind.TEXT: 1}),
    "no text": (sql("UPDATE frames SET local_description = NULL, local_tags = NULL WHERE THE FOURTH"),
                {Kind.MISSING_DESCRIPTION: 1, Kind.DOCUMENT_EXTRA: 1}),
    "no document": (sql("DELETE FROM search_documents WHERE ITS OWN"), {Kind.DOCUMENT_MISSING: 1}),
    "another source": (sql("UPDATE search_documents SET source = 2 WHERE ITS OWN"),
                       {Kind.DOCUMENT_EXTRA: 1}),
    "no reply": (sql("DELETE FROM analyses WHERE ITS OWN"), {Kind.REPLY: 1}),
    "another reply": (sql("UPDATE analyses SET raw_reply = '{\"text\": \"A cat.\"}' WHERE ITS OWN"),
                      {Kind.TEXT: 1}),
    "not kept": (sql("UPDATE analyses SET is_kept = 0 WHERE ITS OWN"), {Kind.REPLY: 1}),
    "task gone": (sql("DELETE FROM tasks WHERE ITS OWN"), {Kind.TASK: 1, Kind.STATUS: 1}),
    "task todo": (sql("UPDATE tasks SET status = 'todo' WHERE ITS OWN"),
                  {Kind.TASK: 1, Kind.STATUS: 1}),
    "status": (sql("UPDATE videos SET enrichment_status = 'pending' WHERE id = 2"), {Kind.STATUS: 1}),
    "extraction": (sql("UPDATE tasks SET status = 'todo' WHERE video_id = 2 AND kind = 'extract'"), {Kind.STATUS: 1}),
    "index of words": (sql("DROP TRIGGER search_documents_deleted", "DELETE FROM search_documents WHERE frame_id = 9"),
                       {Kind.DOCUMENT_MISSING: 1, Kind.SEARCH_INDEX: 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_damage_is_reported(library: Workspace, name: str) -> None:
    break_it, kinds = BROKEN[name]
    break_it(library)
    assert found(library) == kinds


@pytest.mark.parametrize("name", ["deleted", "truncated", "turned", "shrunk", "orphan", "stands for", "text"])
def test_a_quick_check_finds_much(library: Workspace, name: str) -> None:
    break_it, kinds = BROKEN[name]
    break_it(library)
    assert found(library, quick=True) == kinds


def test_a_dangling_reference_is_reported(library: Workspace) -> None:
    with sqlite3.connect(library.settings.home / "library.db") as connection:
        connection.execute("UPDATE tasks SET run_id = 99 WHERE id = 1")
    connection.close()
    assert found(library) == {Kind.REFERENCE: 1}


def test_a_damaged_database_is_reported(library: Workspace) -> None:
    library.library.engine.dispose()
    file = library.settings.home / "library.db"
    root = library.value("SELECT rootpage FROM sqlite_master WHERE name = 'ix_frames_video_id_index'")
    size = library.value("PRAGMA page_size")
    library.library.engine.dispose()
    with file.open("r+b") as data:
        data.seek((root - 1) * size + 8)
        data.write(b"\xff" * 64)
    assert Kind.DATABASE in found(library, quick=True)


def test_a_missing_video_is_reported_and_the_rest_is_checked(library: Workspace) -> None:
    library.change("UPDATE videos SET path = '/nowhere/party.mp4' WHERE id = 2")
    delete_image(library)
    verdict = verify(library.library)
    assert [group.kind for group in verdict.groups] == [Kind.FILE, Kind.IMAGE_MISSING]
    assert "/nowhere/party.mp4 does not exist" in verdict.groups[0].places[0]
    assert verdict.frames == 18


def test_many_problems_are_one_group_with_a_few_places(library: Workspace) -> None:
    shutil.rmtree(library.image(library.frames(2)[0]).parent)
    group = the_group(verify(library.library))
    assert (group.kind, group.count, len(group.places)) == (Kind.IMAGE_MISSING, 12, MAX_PLACES)
    assert group.places[3] == "frame 3 at 0.120 s"


@pytest.mark.parametrize("quick", [False, True], ids=["decoding", "quick"])
@pytest.mark.parametrize("name", ["deleted", "truncated", "turned", "shrunk", "orphan", "half", "stranger"])
def test_repair_recreates_images_and_deletes_orphans(library: Workspace, name: str, quick: bool) -> None:
    before = {path: path.read_bytes() for path in library.frames_folder.rglob("*.jpg")}
    break_it, kinds = BROKEN[name]
    break_it(library)
    verdict = verify(library.library, quick=quick, repair=True)
    assert verdict.is_consistent
    assert (verdict.found, verdict.repaired) == (sum(kinds.values()), sum(kinds.values()))
    assert {path: path.read_bytes() for path in library.frames_folder.rglob("*") if path.is_file()} == before
    assert found(library) == {}


@pytest.mark.parametrize("change", ["UPDATE tallies SET kept = kept + 1", "DELETE FROM tallies"])
def test_repair_recounts_wrong_counts(library: Workspace, change: str) -> None:
    with writing(library.library.engine) as connection:
        connection.exec_driver_sql(f"{change} WHERE video_id = 2")
    assert found(library, quick=True) == {Kind.COUNTS: 1}
    assert verify(library.library, quick=True, repair=True).is_consistent
    assert found(library, quick=True) == {}


def test_swapped_images_are_repaired(library: Workspace) -> None:
    swap_images(library)
    assert verify(library.library, repair=True).is_consistent
    assert [read_number(read_jpeg(library.image(frame))) for frame in library.frames(2)] == list(range(100, 112))


@pytest.mark.parametrize("name", ["text", "no document", "task todo", "no reply", "another source"])
def test_nothing_else_is_repaired(library: Workspace, name: str) -> None:
    BROKEN[name][0](library)
    rows = {table: library.ask(f"SELECT * FROM {table}") for table in ("frames", "tasks", "analyses", "videos")}  # noqa: S608
    files = {path: path.read_bytes() for path in library.frames_folder.rglob("*.jpg")}
    verdict = verify(library.library, repair=True)
    assert not verdict.is_consistent
    assert verdict.repaired == 0
    assert {table: library.ask(f"SELECT * FROM {table}") for table in rows} == rows  # noqa: S608
    assert {path: path.read_bytes() for path in library.frames_folder.rglob("*.jpg")} == files


def test_files_of_other_programs_are_not_orphans(library: Workspace) -> None:
    strangers = [library.frames_folder / "notes.txt", library.image(library.frames(2)[0]).parent / "best.jpg"]
    for path in strangers:
        path.write_text("mine", encoding="utf-8")
    assert verify(library.library, repair=True).is_consistent
    assert all(path.exists() for path in strangers)


def test_images_of_earlier_settings_are_accepted(open_copy: Callable[..., Workspace]) -> None:
    for changed in ({"stored_edge": 160}, {"jpeg_quality": 50}, {"stored_edge": 240, "jpeg_quality": 95}):
        assert found(open_copy(**changed)) == {}
        assert found(open_copy(**changed), quick=True) == {}


def test_images_of_a_killed_extraction_are_not_orphans(library: Workspace) -> None:
    leave_orphan(library)
    library.change("UPDATE videos SET extraction_status = 'extracting', enrichment_status = 'enriching' WHERE id = 2")
    library.change("UPDATE tasks SET status = 'doing' WHERE video_id = 2 AND kind = 'extract'")
    assert found(library) == {}


def test_with_a_worker_only_extracted_videos_are_checked(library: Workspace) -> None:
    library.change("UPDATE videos SET extraction_status = 'extracting' WHERE id = 2")
    leave_a_strangers_image(library)
    delete_image(library)
    now = datetime.now(UTC)
    with writing(library.library.engine) as connection:
        runs.begin(connection, this_process(), options={}, is_alive=lambda _: False, now=now)
    verdict = verify(library.library)
    assert (verdict.groups, verdict.skipped, verdict.videos) == ([], ["party"], 1)
    gone = psutil.Process(os.getpid()).create_time() - timedelta(days=1).total_seconds()
    library.change("UPDATE runs SET process_created_at = :at", at=gone)
    assert found(library) == {Kind.IMAGE_MISSING: 1, Kind.ORPHAN: 1, Kind.STATUS: 2}


async def test_a_running_worker_causes_no_findings(workspace: Workspace, standin: StandIn, tmp_path: Path) -> None:
    standin.behave(delay=0.01)
    workspace.add(numbered_clip(tmp_path / "video.mp4", frames=60))
    async with Running(workspace):
        await until(lambda: workspace.video().extraction_status == "extracted", "extraction")
        for _ in range(3):
            assert (await asyncio.to_thread(verify, workspace.library)).groups == []
        await until(lambda: workspace.described() == 60, "descriptions")
    assert found(workspace) == {}


def test_a_stream_that_changes_its_size_is_consistent(workspace: Workspace, tmp_path: Path) -> None:
    parts = [
        image_clip(tmp_path / f"{number}.ts", [numbered_image(n, size) for n in range(8)], codec="mpeg2video")
        for number, size in enumerate([(320, 180), (240, 180)])
    ]
    video = tmp_path / "both.ts"
    video.write_bytes(b"".join(part.read_bytes() for part in parts))
    workspace.add(video)
    asyncio.run(workspace.enrich())
    sizes = {read_jpeg(workspace.image(frame)).shape for frame in workspace.frames()}
    assert len(sizes) == 2
    assert found(workspace) == found(workspace, quick=True) == {}


def test_progress_is_reported(library: Workspace) -> None:
    reported: list[tuple[str, int]] = []
    verify(library.library, on_progress=lambda video, decoded: reported.append((video.title, decoded)))
    assert reported[0] == ("numbers", 1)
    assert reported[-1] == ("party", 12)
    assert len(reported) == 42


@pytest.mark.slow
def test_real_footage_is_consistent(workspace: Workspace) -> None:
    folder = shared_videos()
    if folder is None:
        pytest.skip("no real footage here")
    with_baseline = workspace.with_settings(describer="baseline")
    with_baseline.add(
        *sorted(path for path in folder.iterdir() if path.suffix in (".mp4", ".webm")), sampling="distinct"
    )
    asyncio.run(with_baseline.enrich())
    verdict = verify(workspace.library)
    assert verdict.groups == []
    assert verdict.videos == 8
