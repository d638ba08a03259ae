"""The audit finds what was lost and nothing else; words count only where they can judge."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from db import queries
from db.engine import reading
from enrich.audit import audit as module
from enrich.audit.audit import Audit, AuditResult
from enrich.audit.pairs import AuditPlan, plan_audit
from enrich.errors import CallFailedError, HostDownError, ModelError, VideoError
from tests.clips import image_clip, numbered_image, read_jpeg, read_number
from tests.standin import StandIn, Trick
from tests.waiting import until
from tests.worker.workspace import Running, Workspace

SHOTS = 10
SHOT_FRAMES = 6
LEFT_OUT = 50
LOST = 27  # shows another number than its shot
RECOLOURED = 50  # is as bright as its shot, in another colour


def shot(index: int) -> np.ndarray:
    number = 700 * (index // SHOT_FRAMES + 1)
    if index == LOST:
        return numbered_image(number ^ 0b1111_0000_0000)
    image = numbered_image(number)
    if index == RECOLOURED:
        image[126:] = (30, 117, 30)  # the band
    return image


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of still shots of 6 frames each, with two single frames."""
    path = tmp_path_factory.mktemp("shots") / "shots.mp4"
    return image_clip(path, (shot(index) for index in range(SHOTS * SHOT_FRAMES)), gop=50)


@pytest.fixture
def filmed(workspace: Workspace, shots: Path) -> Workspace:
    """The first frame of each shot is kept and described."""
    workspace.add(shots, sampling="every=0.24s")
    asyncio.run(workspace.enrich())
    assert len(workspace.frames()) == SHOTS
    return workspace


def plan(workspace: Workspace, size: int = 1000, seed: int = 1) -> AuditPlan:
    return plan_audit(workspace.library, workspace.video(), workspace.describer(), size=size, seed=seed)


def drawn(ahead: AuditPlan) -> set[int]:
    return {index for sample in ahead.samples for index in sample.indexes}


@asynccontextmanager
async def an_audit(workspace: Workspace, size: int = 1000, seed: int = 1) -> AsyncIterator[Audit]:
    describer = workspace.describer()
    try:
        yield Audit(workspace.library, describer, plan(workspace, size, seed))
    finally:
        await describer.close()


async def audited(workspace: Workspace, size: int = 1000, seed: int = 1) -> AuditResult:
    async with an_audit(workspace, size, seed) as audit:
        return await audit.run()


async def test_an_audit_finds_what_was_lost_and_nothing_else(filmed: Workspace) -> None:
    done = await audited(filmed)
    report = done.report
    assert len(report.pairs) == LEFT_OUT
    assert [pair.index for pair in report.disagreeing] == [LOST, RECOLOURED]
    lost, recoloured = report.disagreeing
    assert (lost.kept_index, lost.timestamp) == (24, pytest.approx(LOST / 25))
    assert (lost.agreement.by_image, lost.agreement.by_words) == (False, False)
    assert (recoloured.agreement.by_image, recoloured.agreement.by_words) == (True, False)
    assert "green band" in (recoloured.text or "")
    assert report.by_image == (49, 50)
    assert report.by_words == (48, 50)
    assert (done.trouble, done.is_stopped) == (None, False)


async def test_images_of_a_disagreeing_pair_are_sorted_side_by_side(filmed: Workspace) -> None:
    done = await audited(filmed)
    lost = done.report.disagreeing[0]
    assert done.folder is not None
    assert done.folder.parent == filmed.settings.home / "audits"
    assert len(list(done.folder.iterdir())) == 4, "the pairs that agree are not kept"
    assert sorted(done.folder.iterdir())[:2] == [lost.kept_image, lost.image]
    shown = [read_number(read_jpeg(path)) for path in (lost.kept_image, lost.image)]
    assert shown == [700 * 5, 700 * 5 ^ 0b1111_0000_0000]


async def test_no_folder_is_left_if_all_pairs_agree(filmed: Workspace) -> None:
    seed = next(seed for seed in count() if not drawn(plan(filmed, 20, seed)) & {LOST, RECOLOURED})
    done = await audited(filmed, 20, seed)
    assert len(done.report.pairs) == 20
    assert done.report.disagreeing == []
    assert done.folder is None
    assert not list((filmed.settings.home / "audits").iterdir())


async def test_a_seed_compares_the_same_frames_again(filmed: Workspace) -> None:
    first, again, other = [await audited(filmed, 10, seed) for seed in (5, 5, 6)]
    assert [asdict(pair) | {"image": None, "kept_image": None} for pair in first.report.pairs] == [
        asdict(pair) | {"image": None, "kept_image": None} for pair in again.report.pairs
    ]
    assert [pair.index for pair in first.report.pairs] != [pair.index for pair in other.report.pairs]


async def test_known_descriptions_are_reused(filmed: Workspace, standin: StandIn) -> None:
    standin.forget()
    ahead = plan(filmed)
    assert ahead.calls == LEFT_OUT + len(ahead.repeated_ids)
    done = await audited(filmed)
    assert done.calls == len(standin.chats) == ahead.calls


@pytest.mark.parametrize("column", ["model_digest", "prompt_version"])
async def test_descriptions_of_another_model_or_prompt_are_not_used(
    filmed: Workspace, standin: StandIn, column: str
) -> None:
    filmed.change(f"UPDATE analyses SET {column} = 'another', raw_reply = '{{\"text\": \"A cat.\"}}'")  # noqa: S608
    standin.forget()
    done = await audited(filmed)
    assert len(standin.chats) == LEFT_OUT + SHOTS + len(plan(filmed).repeated_ids)
    assert not any("cat" in (pair.kept_text or "") for pair in done.report.pairs)


async def test_calls_are_recorded_and_change_nothing_else(filmed: Workspace, standin: StandIn) -> None:
    tables = ("frames", "tasks", "videos", "search_documents")
    before = {table: filmed.ask(f"SELECT * FROM {table}") for table in tables}  # noqa: S608
    with reading(filmed.library.engine) as connection:
        speed = queries.speed(connection, "ollama", "llava:13b")
    standin.behave(delay=0.05)
    done = await audited(filmed, size=10)
    assert {table: filmed.ask(f"SELECT * FROM {table}") for table in tables} == before  # noqa: S608
    rows = filmed.ask("SELECT frame_id, is_kept, raw_reply FROM analyses WHERE pass = 'audit'")
    assert len(rows) == done.calls
    kept = {frame.id for frame in filmed.frames()}
    assert all(row.frame_id in kept and not row.is_kept and "Frame number" in row.raw_reply for row in rows)
    with reading(filmed.library.engine) as connection:
        assert queries.speed(connection, "ollama", "llava:13b") == speed


async def test_both_images_of_a_pair_get_the_same_question(filmed: Workspace, standin: StandIn) -> None:
    filmed.change("UPDATE analyses SET model_digest = 'another'")
    filmed.change("UPDATE videos SET context = 'A film of squares'")
    standin.forget()
    await audited(filmed, size=5)
    assert len({request.prompt for request in standin.chats}) == 1
    assert "A film of squares" in standin.chats[0].prompt


async def test_all_hosts_share_the_work(filmed: Workspace, standin: StandIn) -> None:
    standin.behave(delay=0.02)
    with StandIn(parallel=4, delay=0.02) as second:
        both = filmed.with_settings(ollama_hosts=(standin.address, second.address))
        standin.forget()
        done = await audited(both)
        assert len(done.report.pairs) == LEFT_OUT
        assert min(len(standin.chats), len(second.chats)) > 10
        assert len(standin.chats) + len(second.chats) == done.calls


async def test_pairs_of_a_stopped_host_go_to_the_other(
    filmed: Workspace, standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOST_BACKOFF_SECONDS", (0.01,))
    standin.behave(delay=0.02)
    with StandIn(parallel=4, delay=0.02) as second:
        both = filmed.with_settings(ollama_hosts=(standin.address, second.address))
        second.play(Trick.BUSY)
        done = await audited(both)
    assert len(done.report.pairs) == LEFT_OUT
    assert done.trouble is None


async def test_a_busy_host_is_retried(filmed: Workspace, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOST_BACKOFF_SECONDS", (0.01, 0.01, 0.01))
    standin.play(Trick.BUSY, times=2, frames={4200})
    done = await audited(filmed, 40)
    assert len(done.report.pairs) == 40
    assert [play.times for play in standin.plays] == [0]


@pytest.mark.parametrize("trick", [Trick.ERROR, Trick.CRASH, Trick.DIE])
async def test_a_frame_that_cannot_be_described_is_judged_by_its_image(
    filmed: Workspace, standin: StandIn, trick: Trick
) -> None:
    standin.behave(delay=0.01)  # so that other frames are in flight with it
    standin.play(trick, frames={700 * 5 ^ 0b1111_0000_0000})
    done = await audited(filmed)
    [lost, _] = done.report.disagreeing
    assert (lost.index, lost.text, lost.agreement.by_words) == (LOST, None, None)
    assert not lost.agreement.by_image
    assert done.report.by_words[1] == 49
    assert isinstance(done.trouble, CallFailedError)


@pytest.mark.parametrize(
    ("trick", "reason", "requests"),
    [(Trick.REFUSE, "make an embedding", 6), (Trick.ERROR, "exit status 2", 2 * 6)],  # each crash is retried once
)
async def test_an_audit_ends_with_the_error_of_its_only_host(
    filmed: Workspace, standin: StandIn, trick: Trick, reason: str, requests: int
) -> None:
    standin.play(trick, frames=set(range(65536)))
    standin.forget()
    with pytest.raises(CallFailedError, match=reason):
        await audited(filmed)
    assert len(standin.chats) <= requests
    assert not list((filmed.settings.home / "audits").rglob("*"))


async def test_a_missing_host_or_model_is_reported(filmed: Workspace, standin: StandIn) -> None:
    with pytest.raises(HostDownError, match="ollama serve"):
        await audited(filmed.with_settings(ollama_hosts=("http://127.0.0.1:9",)))
    standin.behave(models=())
    with pytest.raises(ModelError, match="not installed"):
        await audited(filmed)


async def test_a_stopped_audit_keeps_its_pairs(filmed: Workspace, standin: StandIn) -> None:
    standin.behave(delay=0.03)
    async with an_audit(filmed) as running:
        work = asyncio.create_task(running.run())
        await until(lambda: running.done >= 16, "some pairs")
        running.stop()
        done = await work
    assert done.is_stopped
    assert 16 <= len(done.report.pairs) < LEFT_OUT
    assert done.trouble is None


async def test_video_removed_during_an_audit_does_not_stop_it(filmed: Workspace, standin: StandIn) -> None:
    async with an_audit(filmed, 20) as running:
        work = asyncio.create_task(running.run())
        await until(lambda: running.done >= 4, "some pairs")
        standin.behave(parallel=0)
        filmed.remove(1)
        standin.behave(parallel=2)
        done = await work
    assert len(done.report.pairs) == 20
    assert done.trouble is None
    recorded = filmed.ask("SELECT frame_id, raw_reply, is_kept FROM analyses WHERE pass = 'audit'")
    assert recorded == [(None, None, 0)] * done.calls


async def test_an_audit_stopped_before_its_start_is_empty(filmed: Workspace) -> None:
    async with an_audit(filmed) as running:
        running.stop()
        assert (await running.run()).report.pairs == []


def test_a_video_not_extracted_or_missing_is_refused(workspace: Workspace, shots: Path, tmp_path: Path) -> None:
    video = tmp_path / "video.mp4"
    video.write_bytes(shots.read_bytes())
    workspace.add(video, sampling="every=2s")
    with pytest.raises(VideoError, match="everyframe extract 1"):
        plan(workspace)
    asyncio.run(workspace.enrich())
    video.write_bytes(shots.read_bytes() + b"\0")
    with pytest.raises(VideoError, match="not the file that was added"):
        plan(workspace)


async def test_a_fully_kept_video_has_nothing_to_compare(workspace: Workspace, clip: Callable[..., Path]) -> None:
    workspace.add(clip(frames=5))
    await workspace.enrich()
    assert (plan(workspace).left_out, plan(workspace).sampled) == (0, 0)


async def test_the_baseline_can_be_audited_too(filmed: Workspace) -> None:
    done = await audited(filmed.with_settings(describer="baseline"))
    assert len(done.report.pairs) == LEFT_OUT
    assert LOST in [pair.index for pair in done.report.disagreeing]


async def test_an_audit_runs_beside_a_worker(filmed: Workspace, standin: StandIn, clip: Callable[..., Path]) -> None:
    standin.behave(delay=0.005)
    filmed.add(clip(frames=40))
    async with Running(filmed):
        done = await audited(filmed, size=30)
        await until(lambda: filmed.described() == SHOTS + 40, "descriptions")
    assert len(done.report.pairs) == 30
    assert filmed.value("SELECT count(*) FROM tasks WHERE status = 'failed'") == 0
