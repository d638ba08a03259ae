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
from tests.clips import image_clip, numbered_image
from tests.standin import StandIn, Trick
from tests.worker.house import House, Running, assert_settled, assert_truthful, truthful, until


async def test_every_frame_gets_the_description_of_its_own_picture(house: House, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=40))
    summary = await house.enrich()
    assert len(house.frames()) == 40
    assert_truthful(house)
    assert_settled(house)
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert summary.left == 0
    counts = summary.counts
    assert (counts.videos_extracted, counts.frames_described, counts.frames_failed) == (1, 40, 0)
    assert (counts.calls, counts.warnings) == (40, 0)


async def test_distinct_frames_too_get_the_description_of_their_own_picture(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=40), sampling="distinct:loose")
    await house.enrich()
    assert_truthful(house)
    assert sum(frame.stands_for or 0 for frame in house.frames()) == 40
    assert sorted(standin.described) == [frame.index for frame in house.frames()]


async def test_frames_of_several_videos_are_not_mixed_up(house: House, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=25), clip(frames=25, first=200), clip(frames=25, first=4000))
    await house.with_settings(concurrency=4).enrich()
    for number, first in enumerate((0, 200, 4000), 1):
        assert_truthful(house, number, first)
        assert house.video(number).enrichment_status == "enriched"


async def test_a_video_goes_from_pending_over_enriching_to_enriched(house: House, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=20))
    seen = [str(house.video().enrichment_status)]

    def look(connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        if statement.startswith("UPDATE videos SET enrichment_status"):
            seen.extend(value for value in parameters if isinstance(value, str))  # type: ignore[attr-defined]

    event.listen(house.library.engine, "after_cursor_execute", look)
    await house.enrich()
    assert seen == ["pending", "enriching", "enriched"]
    assert house.video().extraction_status == "extracted"
    assert house.video().covered == 20


async def test_every_call_is_booked(house: House, standin: StandIn, clip: Callable[..., Path]) -> None:
    standin.behave(delay=0.02)
    house.add(clip(frames=10))
    await house.enrich()
    rows = house.ask("SELECT * FROM analyses ORDER BY id")
    assert len(rows) == len(standin.chats) == 10
    assert {row.frame_id for row in rows} == {frame.id for frame in house.frames()}
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
    house: House, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding is held back after its first frames until one of them is described: it could wait for ever."""
    house.add(clip(frames=30))
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    saved = extract_task._save
    described: list[int] = []

    def save(*arguments: object) -> None:
        if house.frames():
            asyncio.run(until(house.described, "a frame is described although decoding has not ended"))
            described.append(house.described())
            assert house.video().extraction_status == "extracting"
        saved(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_task, "_save", save)
    await house.enrich()
    assert described
    assert described[0] < 30
    assert_truthful(house)


async def test_hosts_share_the_work(
    make_house: Callable[..., House], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as second:
        standin.behave(delay=0.01)
        house = make_house(ollama_hosts=f"{standin.address},{second.address}")
        house.add(clip(frames=60))
        await house.enrich()
        assert len(standin.described) > 10
        assert len(second.described) > 10
        assert sorted(standin.described + second.described) == list(range(60))
    assert_truthful(house)


async def test_a_host_that_fails_on_everything_rests_while_the_other_does_its_work(
    make_house: Callable[..., House], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8) as broken:
        broken.play(Trick.ERROR)
        house = make_house(ollama_hosts=f"{standin.address},{broken.address}")
        house.add(clip(frames=40))
        summary = await house.enrich()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert broken.described == []
    assert house.attempts() == 0
    assert_truthful(house)
    assert_settled(house)


async def test_a_host_that_breaks_in_the_middle_costs_no_frame_an_attempt(
    make_house: Callable[..., House], standin: StandIn, clip: Callable[..., Path]
) -> None:
    with StandIn(parallel=8, delay=0.01) as breaks:
        standin.behave(delay=0.01)
        house = make_house(ollama_hosts=f"{standin.address},{breaks.address}", concurrency=3)
        house.add(clip(frames=80))
        async with Running(house, RunOptions()) as running:
            await until(lambda: len(breaks.described) > 3, "the second host describes")
            breaks.play(Trick.ERROR)
            summary = await running.end()
    assert summary.is_good
    assert summary.counts.frames_failed == 0
    assert_truthful(house)


async def test_a_limit_is_kept_and_the_rest_waits(house: House, standin: StandIn, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=30))
    summary = await house.enrich(RunOptions(limit=7))
    assert summary.ending is RunEnd.LIMIT
    assert house.described() == len(standin.chats) == 7
    assert_settled(house)
    await house.enrich()
    assert len(standin.chats) == 30
    assert_truthful(house)


async def test_a_time_is_kept_and_the_rest_waits(house: House, standin: StandIn, clip: Callable[..., Path]) -> None:
    standin.behave(delay=0.05)
    house.add(clip(frames=200))
    summary = await house.enrich(RunOptions(within_seconds=2.5))
    assert summary.ending is RunEnd.TIME_UP
    assert 0 < house.described() < 200
    assert summary.left == len(house.frames()) - house.described()
    assert_settled(house)
    assert house.attempts() == 0


async def test_only_the_videos_of_the_order_are_touched(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=10), clip(frames=10, first=500))
    await house.enrich(RunOptions(video_ids=frozenset({2})))
    assert sorted(standin.described) == list(range(500, 510))
    assert house.video(1).extraction_status == "pending"
    assert house.frames(1) == []


async def test_extracting_alone_describes_nothing_and_enriching_later_decodes_nothing_again(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=15))
    summary = await house.worker(RunOptions(describe=False)).run()
    assert summary.counts.videos_extracted == 1
    assert standin.chats == []
    assert house.video().enrichment_status == "pending"
    pictures = {path: path.stat().st_mtime_ns for path in house.frames_folder.rglob("*.jpg")}
    await house.enrich()
    assert_truthful(house)
    assert {path: path.stat().st_mtime_ns for path in house.frames_folder.rglob("*.jpg")} == pictures


async def test_a_video_that_is_added_while_the_worker_waits_is_taken_up(
    house: House, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=10))
    async with Running(house):
        await until(lambda: house.video().enrichment_status == "enriched", "the first is enriched")
        house.add(clip(frames=10, first=300))
        await until(lambda: house.video(2).enrichment_status == "enriched", "the second is enriched")
    assert_truthful(house, 2, 300)
    assert_settled(house)
    assert house.states_of_runs() == ["stopped"]


async def test_a_video_that_is_removed_with_calls_in_flight_is_gone_and_the_run_goes_on(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    standin.behave(delay=0.1)
    house.add(clip(frames=30), clip(frames=10, first=700))
    async with Running(house, RunOptions()) as running:
        await until(lambda: len(standin.chats) > 2 and house.described(), "calls are in flight")
        house.remove(1)
        summary = await running.end()
    assert summary.is_good
    assert_truthful(house, 2, 700)
    assert house.ask("SELECT * FROM frames WHERE video_id = 1") == []
    assert house.ask("SELECT * FROM tasks WHERE video_id = 1") == []
    assert_settled(house)


async def test_a_video_that_is_removed_while_it_is_decoded_leaves_no_pictures(
    house: House, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_task, "BATCH_FRAMES", 5)
    house.add(clip(frames=60), clip(frames=10, first=700))
    saved = extract_task._save

    def save(*arguments: object) -> None:
        saved(*arguments)  # type: ignore[arg-type]
        if house.ask("SELECT 1 FROM videos WHERE id = 1"):
            house.remove(1)

    monkeypatch.setattr(extract_task, "_save", save)
    fingerprint = house.video(1).fingerprint
    summary = await house.enrich()
    assert summary.is_good
    assert_truthful(house, 2, 700)
    assert not (house.frames_folder / fingerprint[:16]).exists()
    assert_settled(house)


async def test_the_baseline_fills_quick_columns_alone_and_a_model_supersedes_it(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=12))
    baseline = house.with_settings(describer="baseline")
    summary = await baseline.enrich()
    assert summary.counts.frames_described == 12
    assert standin.history == []
    assert house.described() == 0
    assert house.video().described == house.video().covered == 0
    assert house.video().enrichment_status == "pending"
    for frame in house.frames():
        assert frame.quick_description is not None
        assert frame.quick_description.startswith("Baseline, no model:")
        assert frame.local_description is frame.local_tags is frame.enriched_at is None
    with reading(house.library.engine) as connection:
        assert len(search(connection, "baseline").hits) == 12
    await house.enrich()
    assert_truthful(house)
    assert house.video().enrichment_status == "enriched"
    with reading(house.library.engine) as connection:
        assert search(connection, "baseline").hits == []
        assert {hit.source for hit in search(connection, "squares").hits} == {"deep"}
        assert queries.progress(connection, "quick").done == 12
    await baseline.enrich()  # and never the other way round
    assert_truthful(house)


async def test_the_baseline_describes_frames_that_a_model_has_described_before(
    house: House, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=8))
    await house.enrich()
    await house.with_settings(describer="baseline").enrich()
    assert all(frame.quick_description for frame in house.frames())
    assert_truthful(house)
    with reading(house.library.engine) as connection:
        assert search(connection, "baseline").hits == []


async def test_names_known_from_the_context_alone_are_flagged_and_not_found(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    """The model says the name whenever it stands in the prompt, and says nothing at all without it."""
    house.add(clip(frames=6), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    standin.play(Trick.EMPTY)
    await house.enrich()
    for frame in house.frames():
        assert frame.local_description is not None
        assert "Erna" in frame.local_description
        assert {"problem": "context_name", "detail": "Erna"} in frame.warnings
    with reading(house.library.engine) as connection:
        assert search(connection, "Erna").hits == []
        assert len(search(connection, "squares").hits) == 6
    assert house.video().enrichment_status == "enriched"


async def test_asked_without_the_context_a_model_that_named_somebody_is_believed(
    house: House, standin: StandIn, clip: Callable[..., Path]
) -> None:
    house.add(clip(frames=3), context="The 80th birthday of Erna Huber.")
    standin.play(Trick.CONTEXT_NAME)
    summary = await house.enrich()
    assert_truthful(house)
    assert summary.counts.calls == len(standin.chats) == 6
    kept = house.ask("SELECT frame_id, is_kept FROM analyses ORDER BY id")
    assert [row.is_kept for row in kept].count(1) == 3
    assert all(frame.warnings == [] for frame in house.frames())


async def test_what_a_person_wrote_survives_the_model(house: House, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=5))
    await house.worker(RunOptions(describe=False)).run()
    with writing(house.library.engine) as connection:
        editing.edit_frame(
            connection, house.frames()[2].id, description="Grandma laughs", tags=["grandma"], now=datetime.now(UTC)
        )
    await house.enrich()
    frame = house.frames()[2]
    assert (frame.description, frame.tags) == ("Grandma laughs", ["grandma"])
    assert frame.local_description == truthful(2)


async def test_an_empty_library_is_worked_off_at_once(house: House, standin: StandIn) -> None:
    summary = await house.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert summary.is_good
    assert_settled(house)


async def test_a_second_run_finds_nothing_to_do(house: House, standin: StandIn, clip: Callable[..., Path]) -> None:
    house.add(clip(frames=5))
    await house.enrich()
    standin.forget()
    summary = await house.enrich()
    assert summary.counts.frames_described == summary.counts.videos_extracted == 0
    assert standin.chats == []


async def test_stored_pictures_are_shrunk_to_what_the_model_sees(
    make_house: Callable[..., House], standin: StandIn, tmp_path: Path, clip: Callable[..., Path]
) -> None:
    house = make_house(picture_edges={"llava": 160})
    house.add(clip(frames=4))
    await house.enrich()
    assert {(sight.width, sight.height) for request in standin.chats for sight in request.sights} == {(160, 90)}
    assert_truthful(house)


async def test_a_turned_film_is_described_upright(house: House, tmp_path: Path) -> None:
    pictures = (numbered_image(number, (180, 320)) for number in range(8))
    house.add(image_clip(tmp_path / "phone.mp4", pictures, rotation=90))
    await house.enrich()
    assert_truthful(house)


async def test_the_worker_says_what_it_is_doing(house: House, standin: StandIn, clip: Callable[..., Path]) -> None:
    standin.behave(delay=0.05)
    house.add(clip(frames=30))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.states_of_runs() == ["running"], "the run is running")
        await until(lambda: running.worker.status.counts.frames_described > 3, "frames are described")
        assert house.value("SELECT progress_at IS NOT NULL FROM runs")
        await running.end()
    [run] = house.ask("SELECT * FROM runs")
    assert run.state == "finished"
    assert json.loads(run.counts)["frames_described"] == 30
    assert json.loads(run.options)["hosts"] == [standin.address]


@pytest.mark.slow
@pytest.mark.parametrize("calls", [2, 8])
async def test_so_many_calls_are_in_flight_as_were_asked_for_and_never_more(
    make_house: Callable[..., House], standin: StandIn, clip: Callable[..., Path], calls: int
) -> None:
    """Counted where they arrive: of all moments at which the model could take a call, in nearly all it has one."""
    standin.behave(delay=0.2, parallel=64)
    in_flight = Watch(standin)
    house = make_house(concurrency=calls)
    house.add(clip(frames=20 * calls))
    await house.worker(RunOptions(describe=False)).run()
    with in_flight:
        await house.enrich()
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
