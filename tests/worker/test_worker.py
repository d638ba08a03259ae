"""The worker from end to end: what is described, when, what is booked, and how it shares and ends its work."""

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
from tests.clips import numbered_picture, picture_clip
from tests.standin import StandIn, Trick
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, truthful, until


async def test_every_frame_gets_the_description_of_its_own_picture(
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


async def test_distinct_frames_too_get_the_description_of_their_own_picture(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=40), sampling="distinct:loose")
    await workspace.enrich()
    assert_truthful(workspace)
    assert sum(frame.stands_for or 0 for frame in workspace.frames()) == 40
    assert sorted(standin.described) == [frame.index for frame in workspace.frames()]


async def test_frames_of_several_videos_are_not_mixed_up(workspace: Workspace, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=25), clip(frames=25, first=200), clip(frames=25, first=4000))
    await workspace.with_settings(concurrency=4).enrich()
    for number, first in enumerate((0, 200, 4000), 1):
        assert_truthful(workspace, number, first)
        assert workspace.video(number).enrichment_status == "enriched"


async def test_a_video_goes_from_pending_over_enriching_to_enriched(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=20))
    seen = [str(workspace.video().enrichment_status)]

    def look(connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("UPDATE videos SET enrichment_status"):
            seen.extend(value for value in parameters if isinstance(value, str))  # type: ignore[attr-defined]

    event.listen(workspace.library.engine, "after_cursor_execute", look)
    await workspace.enrich()
    assert seen == ["pending", "enriching", "enriched"]
    assert workspace.video().extraction_status == "extracted"
    assert workspace.video().covered == 20


async def test_every_call_is_booked(workspace: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
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


async def test_frames_are_described_while_their_video_is_still_being_decoded(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding is held back after its first frames until one of them is described: it could wait for ever."""
    workspace.add(clip(frames=30))
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    saved = extract_task._save
    described: list[int] = []

    def save(*arguments: object) -> None:
        if workspace.frames():
            asyncio.run(until(workspace.described, "a frame is described although decoding has not ended"))
            described.append(workspace.described())
            assert workspace.video().extraction_status == "extracting"
        saved(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task, "_save", save)
    await workspace.enrich()
    assert described
    assert described[0] < 30
    assert_truthful(workspace)


async def test_hosts_share_the_work(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as second:
        standin.behave(delay=0.01)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{second.address}")
        workspace.add(clip(frames=60))
        await workspace.enrich()
        assert len(standin.described) > 10
        assert len(second.described) > 10
        assert sorted(standin.described + second.described) == list(range(60))
    assert_truthful(workspace)


async def test_a_host_that_fails_on_everything_rests_while_the_other_does_its_work(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8) as broken:
        broken.play(Trick.ERROR)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{broken.address}")
        workspace.add(clip(frames=40))
        summary = await workspace.enrich()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert broken.described == []
    assert workspace.attempts() == 0
    assert_truthful(workspace)
    assert_settled(workspace)


async def test_a_host_that_breaks_in_the_middle_costs_no_frame_an_attempt(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as breaks:
        standin.behave(delay=0.01)
        workspace = make_workspace(ollama_hosts=f"{standin.address},{breaks.address}", concurrency=3)
        workspace.add(clip(frames=80))
        async with Running(workspace, RunOptions()) as running:
            await until(lambda: len(breaks.described) > 3, "the second host describes")
            breaks.play(Trick.ERROR)
            summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert_truthful(workspace)


async def test_a_limit_is_kept_and_the_rest_waits(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=30))
    summary = await workspace.enrich(RunOptions(limit=7))
    assert summary.ending is RunEnd.LIMIT
    assert workspace.described() == len(standin.chats) == 7
    assert_settled(workspace)
    await workspace.enrich()
    assert len(standin.chats) == 30
    assert_truthful(workspace)


async def test_a_time_is_kept_and_the_rest_waits(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=200))
    summary = await workspace.enrich(RunOptions(within_seconds=2.5))
    assert summary.ending is RunEnd.TIME_UP
    assert 0 < workspace.described() < 200
    assert summary.left == len(workspace.frames()) - workspace.described()
    assert_settled(workspace)
    assert workspace.attempts() == 0


async def test_only_the_videos_of_the_order_are_touched(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=10), clip(frames=10, first=500))
    await workspace.enrich(RunOptions(video_ids=frozenset({2})))
    assert sorted(standin.described) == list(range(500, 510))
    assert workspace.video(1).extraction_status == "pending"
    assert workspace.frames(1) == []


async def test_extracting_alone_describes_nothing_and_enriching_later_decodes_nothing_again(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=15))
    summary = await workspace.worker(RunOptions(describe=False)).run()
    assert summary.counts.videos_extracted == 1
    assert standin.chats == []
    assert workspace.video().enrichment_status == "pending"
    pictures = {path: path.stat().st_mtime_ns for path in workspace.frames_folder.rglob("*.jpg")}
    await workspace.enrich()
    assert_truthful(workspace)
    assert {path: path.stat().st_mtime_ns for path in workspace.frames_folder.rglob("*.jpg")} == pictures


async def test_a_video_that_is_added_while_the_worker_waits_is_taken_up(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=10))
    async with Running(workspace):
        await until(lambda: workspace.video().enrichment_status == "enriched", "the first is enriched")
        workspace.add(clip(frames=10, first=300))
        await until(lambda: workspace.video(2).enrichment_status == "enriched", "the second is enriched")
    assert_truthful(workspace, 2, 300)
    assert_settled(workspace)
    assert workspace.states_of_runs() == ["stopped"]


async def test_a_video_that_is_removed_with_calls_in_flight_is_gone_and_the_run_goes_on(
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


async def test_a_video_that_is_removed_while_it_is_decoded_leaves_no_pictures(
    workspace: Workspace, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    workspace.add(clip(frames=60), clip(frames=10, first=700))
    saved = extract_task._save

    def save(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        if workspace.ask("SELECT 1 FROM videos WHERE id = 1"):
            workspace.remove(1)

    monkeypatch.setattr(extract_task, "_save", save)
    fingerprint = workspace.video(1).fingerprint
    summary = await workspace.enrich()
    assert summary.is_good
    assert_truthful(workspace, 2, 700)
    assert not (workspace.frames_folder / fingerprint[:16]).exists()
    assert_settled(workspace)


async def test_the_baseline_fills_quick_columns_alone_and_a_model_supersedes_it(
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
    await baseline.enrich()  # and never the other way round
    assert_truthful(workspace)


async def test_the_baseline_describes_frames_that_a_model_has_described_before(
    workspace: Workspace, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=8))
    await workspace.enrich()
    await workspace.with_settings(describer="baseline").enrich()
    assert all(frame.quick_description for frame in workspace.frames())
    assert_truthful(workspace)
    with reading(workspace.library.engine) as connection:
        assert search(connection, "baseline").hits == []


async def test_names_known_from_the_context_alone_are_flagged_and_not_found(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    """The model says the name whenever it stands in the prompt, and says nothing at all without it."""
    workspace.add(clip(frames=6), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    standin.play(Trick.EMPTY)
    await workspace.enrich()
    for frame in workspace.frames():
        assert frame.local_description is not None
        assert "Erna" in frame.local_description
        assert {"problem": "context_name", "detail": "Erna"} in frame.warnings
    with reading(workspace.library.engine) as connection:
        assert search(connection, "Erna").hits == []
        assert len(search(connection, "squares").hits) == 6
    assert workspace.video().enrichment_status == "enriched"


async def test_asked_without_the_context_a_model_that_named_somebody_is_believed(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=3), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    summary = await workspace.enrich()
    assert_truthful(workspace)
    assert summary.counts.calls == len(standin.chats) == 6
    kept = workspace.ask("SELECT frame_id, is_kept FROM analyses ORDER BY id")
    assert [row.is_kept for row in kept].count(1) == 3
    assert all(frame.warnings == [] for frame in workspace.frames())


async def test_what_a_person_wrote_survives_the_model(workspace: Workspace, clip: Callable[..., Path]) -> None:
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


async def test_an_empty_library_is_worked_off_at_once(workspace: Workspace, standin: StandIn) -> None:
    summary = await workspace.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert_settled(workspace)


async def test_a_second_run_finds_nothing_to_do(
    workspace: Workspace, standin: StandIn, clip: Callable[..., Path]
) -> None:
    workspace.add(clip(frames=5))
    await workspace.enrich()
    standin.forget()
    summary = await workspace.enrich()
    assert summary.counts.frames_described == summary.counts.videos_extracted == 0
    assert standin.chats == []


async def test_stored_pictures_are_shrunk_to_what_the_model_sees(
    make_workspace: Callable[..., Workspace], standin: StandIn, tmp_path: Path, clip: Callable[..., Path]
) -> None:
    workspace = make_workspace(picture_edges={"llava": 160})
    workspace.add(clip(frames=4))
    await workspace.enrich()
    assert {(sight.width, sight.height) for request in standin.chats for sight in request.sights} == {(160, 90)}
    assert_truthful(workspace)


async def test_a_turned_film_is_described_upright(workspace: Workspace, tmp_path: Path) -> None:
    pictures = (numbered_picture(number, (180, 320)) for number in range(8))
    workspace.add(picture_clip(tmp_path / "phone.mp4", pictures, rotation=90))
    await workspace.enrich()
    assert_truthful(workspace)


async def test_the_worker_says_what_it_is_doing(
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
async def test_so_many_calls_are_in_flight_as_were_asked_for_and_never_more(
    make_workspace: Callable[..., Workspace], standin: StandIn, clip: Callable[..., Path], calls: int
) -> None:
    """Counted where they arrive: of all moments at which the model could take a call, in nearly all it has one."""
    standin.behave(delay=0.2, parallel=64)
    in_flight = Watch(standin)
    workspace = make_workspace(concurrency=calls)
    workspace.add(clip(frames=20 * calls))
    await workspace.worker(RunOptions(describe=False)).run()
    with in_flight:
        await workspace.enrich()
    assert in_flight.most == calls
    middle = in_flight.after_begin[2 * calls : -2 * calls]
    assert sum(middle) / len(middle) > 0.75 * calls


class Watch:
    """Counts the calls that are in flight in a stand-in at the moment another one begins, itself included."""

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
