"""A film whose decoding crashes the process is set aside at the third crash, and costs no other film anything."""

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
from tests.worker.house import House, assert_settled, assert_truthful

CRASHES = 3
OTHERS = 3
OTHER_FRAMES = 60
IS_DECODED = (
    "SELECT count(*) FROM tasks WHERE kind = 'extract' AND status = 'doing' AND video_id = :video"
    " AND run_id = (SELECT max(id) FROM runs)"
)


@pytest.mark.slow
def test_a_film_that_crashes_the_worker_each_time_is_set_aside_and_all_others_are_enriched(
    settings: Settings, house: House, standin: StandIn, tmp_path: Path, background: Background
) -> None:
    """The crash is a signal, sent whenever that film is being decoded, which takes some seconds."""
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=40", "-c:v", "mpeg4", "-q:v", "9",
        tmp_path / "crashes.mp4",
    )  # fmt: skip
    [bad] = house.add(tmp_path / "crashes.mp4", sampling="every=3600s")
    others = house.add(
        *(numbered_clip(tmp_path / f"{n}.mp4", frames=OTHER_FRAMES, first=1000 * n) for n in range(OTHERS))
    )
    standin.behave(delay=0.05)
    control.start(settings)
    for crash in range(1, CRASHES + 1):
        background.until(
            lambda: house.value(IS_DECODED, video=bad) and house.states_of_runs()[-1] == "running",
            f"it is decoded, crash {crash}",
        )
        time.sleep(0.2)
        background.worker().send_signal(signal.SIGSEGV)
        background.until(lambda lives=crash + 1: len(house.states_of_runs()) == lives, "it is started again")
    background.until(
        lambda: all(house.video(video_id).enrichment_status == "enriched" for video_id in others), "the others are done"
    )
    assert control.stop(settings) is not None

    assert house.states_of_runs() == ["crashed"] * CRASHES + ["stopped"]
    assert house.video(bad).extraction_status == "failed"
    assert house.video(bad).error == CRASH_LIMIT_REACHED
    assert house.ask("SELECT video_id, kind, error FROM tasks WHERE status = 'failed'") == [
        (bad, "extract", CRASH_LIMIT_REACHED)
    ]
    for number, video_id in enumerate(others):
        assert_truthful(house, video_id, 1000 * number)
    assert house.attempts() == 0
    assert_settled(house)

    assert house.retry(video_id=bad) == 1  # whoever mended the cause has it tried again
    control.start(settings)
    background.until(lambda: house.video(bad).extraction_status == "extracted", "it is decoded")
    assert control.stop(settings) is not None
