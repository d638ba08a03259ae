"""The command `first`, and the plan that `enrich` prints."""

import pytest

from db.editing import REQUEST_PRIORITY
from tests.cli.terminal import ask
from tests.clips import numbered_clip


@pytest.fixture
def video(tmp_path, cli):
    clip = numbered_clip(tmp_path / "garden.mp4", frames=50, fps=10)
    assert cli("add", clip, "--sampling", "exact").code == 0
    return clip


def prioritized(home):
    sql = "SELECT timestamp FROM frames JOIN tasks ON frame_id = frames.id WHERE priority = {} ORDER BY timestamp"
    return [time for (time,) in ask(home, sql.format(REQUEST_PRIORITY))]


def test_part_of_a_video_gets_priority(cli, video, home):
    cli("extract")
    said = cli("first", "garden", "--from", "0:01.5", "--to", "2")
    assert (said.code, said.err) == (0, "")
    assert said.out == "6 frames of garden from 0:01.500 to 0:02.000 will be described next.\n"
    assert prioritized(home) == pytest.approx([1.5, 1.6, 1.7, 1.8, 1.9, 2.0])


def test_unextracted_video_is_extracted_first(cli, video, home):
    said = cli("first", "1")
    assert said.out == "garden: its frames will be extracted and described next.\n"
    cli("extract")
    assert len(prioritized(home)) == 50


@pytest.mark.parametrize("time", ["soon", "1:2:3:4", "-5", ""])
def test_invalid_time_is_wrong_usage(cli, video, time):
    said = cli("first", "garden", f"--from={time}")
    assert said.code == 2
    assert "write seconds, 12:30 or 1:02:03" in said.err


def test_unknown_video_is_an_error(cli, video):
    said = cli("first", "cellar")
    assert said.code == 1
    assert "no video is called 'cellar'" in said.err


def test_enrich_prints_plan_and_result(cli, video, standin):
    standin.behave(delay=0.5)  # neither no frame nor all of them within the limit, even on a busy machine
    first = cli("enrich", "--within", "4s")
    assert "Plan:    shown with the progress, once the model has been timed" in first.out
    assert "Described: one frame at least every" in first.out
    standin.behave(delay=0)
    second = cli("enrich")
    assert "Plan:    all " in second.out
    assert "Described: " not in second.out
