"""A video that crashes the process during decoding fails at the third crash and affects no other video."""

import signal
import time
from pathlib import Path

import pytest

from db.store import CRASH_LIMIT_REACHED
from enrich.control import control
from enrich.settings import Settings
from tests.clips import numbered_clip, run_ffmpeg
from tests.control.background import Background
from tests.standin import StandIn
from tests.worker.workspace import Workspace, assert_settled, assert_truthful

CRASHES = 3
OTHERS = 3
OTHER_FRAMES = 60
IS_DECODED = (
    "SELECT count(*) FROM tasks WHERE kind = 'extract' AND status = 'doing' AND video_id = :video"
    " AND run_id = (SELECT max(id) FROM runs)"
)


@pytest.mark.slow
def test_video_that_crashes_the_worker_fails_and_the_others_are_enriched(
    settings: Settings, workspace: Workspace, standin: StandIn, tmp_path: Path, background: Background
) -> None:
    """The crash is a SIGSEGV, sent while that video is decoded, which takes some seconds."""
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=40", "-c:v", "mpeg4", "-q:v", "9",
        tmp_path / "crashes.mp4",
    )  # fmt: skip
    [bad] = workspace.add(tmp_path / "crashes.mp4", sampling="every=3600s")
    others = workspace.add(
        *(numbered_clip(tmp_path / f"{n}.mp4", frames=OTHER_FRAMES, first=1000 * n) for n in range(OTHERS))
    )
    standin.behave(delay=0.05)
    control.start(settings)
    for crash in range(1, CRASHES + 1):
        background.until(
            lambda: workspace.value(IS_DECODED, video=bad) and workspace.states_of_runs()[-1] == "running",
            f"it is decoded, crash {crash}",
        )
        time.sleep(0.2)
        background.worker().send_signal(signal.SIGSEGV)
        background.until(
            lambda run_count=crash + 1: len(workspace.states_of_runs()) == run_count, "the worker is restarted"
        )
    background.until(
        lambda: all(workspace.video(video_id).enrichment_status == "enriched" for video_id in others),
        "the others are done",
    )
    assert control.stop(settings) is not None

    assert workspace.states_of_runs() == ["crashed"] * CRASHES + ["stopped"]
    assert workspace.video(bad).extraction_status == "failed"
    assert workspace.video(bad).error == CRASH_LIMIT_REACHED
    assert workspace.ask("SELECT video_id, kind, error FROM tasks WHERE status = 'failed'") == [
        (bad, "extract", CRASH_LIMIT_REACHED)
    ]
    for number, video_id in enumerate(others):
        assert_truthful(workspace, video_id, 1000 * number)
    assert workspace.attempts() == 0
    assert_settled(workspace)

    assert workspace.retry(video_id=bad) == 1  # the user has fixed the cause
    control.start(settings)
    background.until(lambda: workspace.video(bad).extraction_status == "extracted", "it is decoded")
    assert control.stop(settings) is not None
