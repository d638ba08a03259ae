"""LocalVisionAnalyzer, EveryFrame's Python API."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enrich import LocalVisionAnalyzer
from enrich.errors import CallFailedError, DescribeError, HostDownError, NotAVideoError, RunningError, VideoError
from enrich.worker.run_options import RunEnd, RunOptions
from tests.standin import StandIn, Trick
from tests.waiting import until, wait_until
from tests.worker.workspace import Running, Workspace, assert_settled, assert_truthful, truthful

ROOT = Path(__file__).resolve().parents[1]
Clip = Callable[..., Path]


@pytest.fixture
def analyzer(workspace: Workspace) -> LocalVisionAnalyzer:
    return LocalVisionAnalyzer(settings=workspace.settings)


@pytest.fixture
async def jpeg(make_workspace: Callable[..., Workspace], clip: Clip) -> Path:
    """The image of frame 17 of a numbered clip."""
    workspace = make_workspace("images")
    workspace.add(clip(frames=20))
    await workspace.worker(RunOptions(describe=False)).run()
    return workspace.image(workspace.frames()[17])


def test_model_comes_from_argument_or_settings(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert LocalVisionAnalyzer().settings.model == "llava:13b"
    assert LocalVisionAnalyzer(model="bakllava").settings.model == "bakllava"
    monkeypatch.setenv("EVERYFRAME_MODEL", "gemma3:4b")
    assert LocalVisionAnalyzer().settings.model == "gemma3:4b"
    assert LocalVisionAnalyzer(model="bakllava", settings=workspace.settings).settings.home == workspace.settings.home


async def test_one_image_is_described_without_a_library(
    standin: StandIn, jpeg: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "nothing here"))
    monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", standin.address)
    description = await LocalVisionAnalyzer(model="llava:13b").analyze_frame_deep(str(jpeg))
    assert description.text == truthful(17)
    assert "number 17" in description.tags
    assert not (tmp_path / "nothing here").exists()


async def test_context_is_sent_with_the_question(standin: StandIn, analyzer: LocalVisionAnalyzer, jpeg: Path) -> None:
    await analyzer.analyze_frame_deep(jpeg, context="The birthday of Erna")
    assert "The birthday of Erna" in standin.chats[-1].prompt


async def test_next_host_is_tried_after_a_failure(
    make_workspace: Callable[..., Workspace], standin: StandIn, jpeg: Path
) -> None:
    with StandIn() as broken:
        broken.play(Trick.ERROR)
        settings = make_workspace(ollama_hosts=f"{broken.address},{standin.address}").settings
        description = await LocalVisionAnalyzer(settings=settings).analyze_frame_deep(jpeg)
    assert description.text == truthful(17)


@pytest.mark.parametrize(("trick", "error"), [(Trick.ERROR, CallFailedError), (Trick.EMPTY, CallFailedError)])
async def test_missing_description_is_an_error(
    standin: StandIn, analyzer: LocalVisionAnalyzer, jpeg: Path, trick: Trick, error: type[DescribeError]
) -> None:
    standin.play(trick, stubborn=True)
    with pytest.raises(error):
        await analyzer.analyze_frame_deep(jpeg)


async def test_missing_ollama_is_reported(standin: StandIn, analyzer: LocalVisionAnalyzer, jpeg: Path) -> None:
    standin.stop()
    with pytest.raises(HostDownError, match="ollama serve"):
        await analyzer.analyze_frame_deep(jpeg)


async def test_missing_image_is_named(analyzer: LocalVisionAnalyzer, tmp_path: Path) -> None:
    with pytest.raises(NotAVideoError, match=r"missing\.jpg"):
        await analyzer.analyze_frame_deep(tmp_path / "missing.jpg")


async def test_only_the_given_video_is_enriched(
    workspace: Workspace, analyzer: LocalVisionAnalyzer, clip: Clip
) -> None:
    workspace.add(clip(frames=12), clip(frames=12, first=400))
    summary = await analyzer.enrich_video(2)
    assert summary.ending is RunEnd.FINISHED
    assert summary.counts.frames_described == 12
    assert_truthful(workspace, 2, 400)
    assert workspace.frames(1) == []
    assert_settled(workspace)


async def test_unknown_video_is_an_error(workspace: Workspace, analyzer: LocalVisionAnalyzer) -> None:
    with pytest.raises(VideoError, match="no video 7"):
        await analyzer.enrich_video(7)


async def test_worker_processes_the_queue_until_cancelled(
    workspace: Workspace, analyzer: LocalVisionAnalyzer, clip: Clip
) -> None:
    workspace.add(clip(frames=8))
    working = asyncio.create_task(analyzer.worker())
    await until(lambda: workspace.video().enrichment_status == "enriched", "the first is enriched")
    workspace.add(clip(frames=8, first=400))
    await until(lambda: workspace.video(2).enrichment_status == "enriched", "the second is enriched")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert_settled(workspace)
    assert workspace.states_of_runs() == ["stopped"]


async def test_second_worker_on_a_library_is_refused(
    workspace: Workspace, standin: StandIn, analyzer: LocalVisionAnalyzer, clip: Clip
) -> None:
    standin.behave(delay=0.05)
    workspace.add(clip(frames=8))
    async with Running(workspace):
        await until(lambda: workspace.states_of_runs() == ["running"], "a worker runs")
        with pytest.raises(RunningError):
            await analyzer.enrich_video(1)


async def test_worker_finishes_a_cancelled_run(
    workspace: Workspace, standin: StandIn, analyzer: LocalVisionAnalyzer, clip: Clip
) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(frames=40))
    enriching = asyncio.create_task(analyzer.enrich_video(1))
    await until(lambda: workspace.described() > 5, "some are described")
    enriching.cancel()
    await asyncio.gather(enriching, return_exceptions=True)
    assert_settled(workspace)
    assert 5 < workspace.described() < 40
    await workspace.enrich()
    assert_truthful(workspace)
    assert workspace.value("SELECT count(*) FROM analyses WHERE is_kept") == 40


def test_command_finishes_a_killed_run(workspace: Workspace, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.02)
    workspace.add(clip(frames=60))
    environment = os.environ | {
        "EVERYFRAME_HOME": str(workspace.settings.home),
        "EVERYFRAME_OLLAMA_HOSTS": standin.address,
        "EVERYFRAME_DISK_RESERVE_MB": "0",
    }
    program = (
        "import asyncio; from enrich import LocalVisionAnalyzer; asyncio.run(LocalVisionAnalyzer().enrich_video(1))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment) as process:
        wait_until(lambda: workspace.described() >= 10, "ten are described", process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    command = [sys.executable, "-c", "from enrich.cli import main; main()", "enrich"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_truthful(workspace)
    assert_settled(workspace)
    assert workspace.states_of_runs() == ["crashed", "finished"]
    assert workspace.value("SELECT count(*) FROM analyses WHERE is_kept") == 60
