"""The worker end to end: descriptions, call records, several hosts, limits, and the end of a run."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Self

import pytest
from sqlalchemy import event

from db import editing, queries
from db.engine import reading, writing
from db.search import search
from enrich.describe.prompt import PROMPT_VERSION
from enrich.worker import extract_task
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import image_clip, numbered_image
from tests.standin import StandIn
from tests.waiting import until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, truthful


async def test_every_frame_gets_the_description_of_its_own_image(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=40))
    summary = await workspace.enrich()
    assert len(workspace.frames()) == 40
    assert_truthful(workspace)
    assert_settled(workspace)
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert summary.left == 0
    counts = summary.counts
    assert (counts.videos_extracted, counts.frames_described, counts.frames_failed) == (1, 40, 0)
    assert (counts.calls, counts.warnings) == (40, 0)


async def test_distinct_frames_get_the_description_of_their_own_image(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=40), sampling="distinct:loose")
    await workspace.enrich()
    assert_truthful(workspace)
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 40
    assert sorted(standin.described) == [frame.index for frame in workspace.frames()]


async def test_descriptions_of_several_videos_are_not_mixed_up(workspace: Workspace, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=25), clip(frames=25, first=200), clip(frames=25, first=4000))
    await workspace.with_settings(concurrency=4).enrich()
    for number, first in enumerate((0, 200, 4000), 1):
        assert_truthful(workspace, number, first)
        assert workspace.video(number).enrichment_status == "enriched"


async def test_video_goes_from_pending_to_enriching_to_enriched(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=20))
    seen = [str(workspace.video().enrichment_status)]

    def record_status(connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("UPDATE videos SET enrichment_status"):
            seen.extend(value for value in parameters if isinstance(value, str))  # type: ignore[attr-defined]

    event.listen(workspace.library.engine, "after_cursor_execute", record_status)
    await workspace.enrich()
    assert seen == ["pending", "enriching", "enriched"]
    assert workspace.video().extraction_status == "extracted"
    assert workspace.video().covered == 20


async def test_every_request_is_recorded(workspace: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(frames=10))
    await workspace.enrich()
    rows = workspace.ask("SELECT * FROM analyses ORDER BY id")
    assert len(rows) == len(standin.chats) == 10
    assert {row.frame_id for row in rows} == {frame.id for frame in workspace.frames()}
    for row in rows:
        assert (row.describer, row.model, row.host) == ("ollama", "llava:13b", standin.address)
        assert row.model_digest == standin.conduct.models[0].digest
        assert row.prompt_version == PROMPT_VERSION
        assert row.latency_seconds >= 0.02
        assert row.prompt_tokens > 500
        assert row.output_tokens > 10
        assert row.is_kept
        assert row.run_id == 1
        assert json.loads(row.raw_reply)["text"].startswith("Frame number")
        assert row.cost_usd == 0


async def test_frames_are_described_while_their_video_is_decoded(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding is blocked after its first frames until one of them is described."""
    workspace.add(clip(frames=30))
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    saved = extract_task._FrameWriter.save
    described: list[int] = []

    def save(*arguments: object) -> None:
        if workspace.frames():
            asyncio.run(until(workspace.described, "a frame is described before decoding ends"))
            described.append(workspace.described())
            assert workspace.video().extraction_status == "extracting"
        saved(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task._FrameWriter, "save", save)
    await workspace.enrich()
    assert described
    assert described[0] < 30
    assert_truthful(workspace)


async def test_only_the_requested_videos_are_processed(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=10), clip(frames=10, first=500))
    await workspace.enrich(RunOptions(video_ids=frozenset({2})))
    assert sorted(standin.described) == list(range(500, 510))
    assert workspace.video(1).extraction_status == "pending"
    assert workspace.frames(1) == []


async def test_extracted_frames_are_described_later_without_decoding_again(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=15))
    summary = await workspace.worker(RunOptions(describe=False)).run()
    assert summary.counts.videos_extracted == 1
    assert standin.chats == []
    assert workspace.video().enrichment_status == "pending"
    images = {path: path.stat().st_mtime_ns for path in workspace.frames_folder.rglob("*.jpg")}
    await workspace.enrich()
    assert_truthful(workspace)
    assert {path: path.stat().st_mtime_ns for path in workspace.frames_folder.rglob("*.jpg")} == images


async def test_waiting_worker_picks_up_an_added_video(workspace: Workspace, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=10))
    async with Running(workspace):
        await until(lambda: workspace.video().enrichment_status == "enriched", "the first is enriched")
        workspace.add(clip(frames=10, first=300))
        await until(lambda: workspace.video(2).enrichment_status == "enriched", "the second is enriched")
    assert_truthful(workspace, 2, 300)
    assert_settled(workspace)
    assert workspace.states_of_runs() == ["stopped"]


async def test_video_removed_with_requests_in_flight_does_not_stop_the_run(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    standin.behave(delay=0.1)
    workspace.add(clip(frames=30), clip(frames=10, first=700))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: len(standin.chats) > 2 and workspace.described(), "calls are in flight")
        workspace.remove(1)
        summary = await running.end()
    assert summary.is_good
    assert_truthful(workspace, 2, 700)
    assert workspace.ask("SELECT * FROM frames WHERE video_id = 1") == []
    assert workspace.ask("SELECT * FROM tasks WHERE video_id = 1") == []
    assert_settled(workspace)


async def test_video_removed_during_decoding_leaves_no_images(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    workspace.add(clip(frames=60), clip(frames=10, first=700))
    saved = extract_task._FrameWriter.save

    def save(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        if workspace.ask("SELECT 1 FROM videos WHERE id = 1"):
            workspace.remove(1)

    monkeypatch.setattr(extract_task._FrameWriter, "save", save)
    folder = workspace.frames_folder / workspace.video(1).image_folder
    summary = await workspace.enrich()
    assert summary.is_good
    assert_truthful(workspace, 2, 700)
    assert not folder.exists()
    assert_settled(workspace)


async def test_baseline_fills_quick_columns_only_and_a_model_supersedes_it(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=12))
    baseline = workspace.with_settings(describer="baseline")
    summary = await baseline.enrich()
    assert summary.counts.frames_described == 12
    assert standin.history == []
    assert workspace.described() == 0
    assert workspace.video().described == workspace.video().covered == 0
    assert workspace.video().enrichment_status == "pending"
    for frame in workspace.frames():
        assert frame.quick_description is not None
        assert frame.quick_description.startswith("Baseline, no model:")
        assert frame.local_description is frame.local_tags is frame.enriched_at is None
    with reading(workspace.library.engine) as connection:
        assert len(search(connection, "baseline").hits) == 12
    await workspace.enrich()
    assert_truthful(workspace)
    assert workspace.video().enrichment_status == "enriched"
    with reading(workspace.library.engine) as connection:
        assert search(connection, "baseline").hits == []
        assert {hit.source for hit in search(connection, "squares").hits} == {"deep"}
        assert queries.progress(connection, "quick").done == 12
    await baseline.enrich()  # the baseline never replaces a model's description
    assert_truthful(workspace)


async def test_baseline_describes_frames_already_described_by_a_model(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=8))
    await workspace.enrich()
    await workspace.with_settings(describer="baseline").enrich()
    assert all(frame.quick_description for frame in workspace.frames())
    assert_truthful(workspace)
    with reading(workspace.library.engine) as connection:
        assert search(connection, "baseline").hits == []


async def test_user_edits_survive_the_model(workspace: Workspace, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=5))
    await workspace.worker(RunOptions(describe=False)).run()
    with writing(workspace.library.engine) as connection:
        editing.edit_frame(
            connection, workspace.frames()[2].id, description="Grandma laughs", tags=["grandma"], now=datetime.now(UTC)
        )
    await workspace.enrich()
    frame = workspace.frames()[2]
    assert (frame.description, frame.tags) == ("Grandma laughs", ["grandma"])
    assert frame.local_description == truthful(2)


async def test_empty_library_finishes_at_once(workspace: Workspace, standin: StandIn) -> None:
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert_settled(workspace)


async def test_second_run_has_nothing_to_do(workspace: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=5))
    await workspace.enrich()
    standin.forget()
    summary = await workspace.enrich()
    assert summary.counts.frames_described == summary.counts.videos_extracted == 0
    assert standin.chats == []


async def test_stored_images_are_shrunk_to_the_input_size_of_the_model(
    make_workspace: Callable[..., Workspace], standin: StandIn, tmp_path: Path, clip: Callable[..., Path]
) -> None:
    workspace = make_workspace(picture_edges={"llava": 160})
    workspace.add(clip(frames=4))
    await workspace.enrich()
    assert {(sight.width, sight.height) for request in standin.chats for sight in request.sights} == {(160, 90)}
    assert_truthful(workspace)


async def test_rotated_video_is_described_upright(workspace: Workspace, tmp_path: Path) -> None:
    images = (numbered_image(number, (180, 320)) for number in range(8))
    workspace.add(image_clip(tmp_path / "phone.mp4", images, rotation=90))
    await workspace.enrich()
    assert_truthful(workspace)


async def test_worker_reports_its_state_and_counts(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=30))
    async with Running(workspace, RunOptions()) as running:
        await until(lambda: workspace.states_of_runs() == ["running"], "the run is running")
        await until(lambda: running.worker.status.counts.frames_described > 3, "frames are described")
        assert workspace.value("SELECT progress_at IS NOT NULL FROM runs")
        await running.end()
    [run] = workspace.ask("SELECT * FROM runs")
    assert run.state == "finished"
    assert json.loads(run.counts)["frames_described"] == 30
    assert json.loads(run.options)["hosts"] == [standin.address]


@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 8])
async def test_requests_in_flight_match_the_concurrency(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path], calls: int
) -> None:
    """Counted at the server: nearly all of its slots are busy nearly all of the time."""
    standin.behave(delay=0.2, parallel=64)
    in_flight = InFlightCounter(standin)
    workspace = make_workspace(concurrency=calls)
    workspace.add(clip(frames=20 * calls))
    await workspace.worker(RunOptions(describe=False)).run()
    with in_flight:
        await workspace.enrich()
    assert in_flight.most == calls
    middle = in_flight.after_begin[2 * calls : -2 * calls]
    assert sum(middle) / len(middle) > 0.75 * calls


class InFlightCounter:
    """Counts the requests in flight in a stand-in whenever a request begins, that request included."""

    def __init__(self, standin: StandIn) -> None:
        self._standin = standin
        self.after_begin: list[int] = []

    @property
    def most(self) -> int:
        return max(self.after_begin)

    def __enter__(self) -> Self:
        self._slot = self._standin.slot

        @contextlib.contextmanager
        def slot(stopping: Event) -> Iterator[None]:
            with self._slot(stopping):
                self.after_begin.append(self._standin._running)
                yield

        self._standin.slot = slot  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        self._standin.slot = self._slot  # type: ignore[method-assign]
