"""A video of which most frames cannot be decoded: every command says so, and `enrich` exits with 1."""

import shutil

import pytest

from tests.cli.terminal import ask
from tests.clips import numbered_clip, overwrite_packets, shared_videos

DAMAGED = "damaged: 4 of 40 frames readable"


@pytest.fixture
def torn(tmp_path):
    """A clip of 40 frames, of which the first 4 can be read."""
    clip = numbered_clip(tmp_path / "torn.mp4", frames=40)
    assert overwrite_packets(clip, after=4) == 36
    return clip


def test_damaged_video_ends_enrich_with_1_in_every_run(cli, standin, torn, home):
    cli("add", "--sampling", "exact", torn)
    said = cli("enrich")
    assert said.code == 1
    assert f"torn is {DAMAGED}. Copy it from the original again" in said.err
    assert ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)], "what is stored is fixed by contract"
    again = cli("enrich")
    assert (again.code, again.out) == (1, "Nothing to do.\n")
    assert DAMAGED in again.err
    summary = cli("enrich", "--json")
    assert (summary.code, summary.json["damaged"]) == (1, [["torn", DAMAGED]])


def test_list_show_and_status_say_what_is_readable(cli, standin, torn):
    cli("add", "--sampling", "exact", torn)
    cli("enrich")
    listed = cli("list").out
    assert f"1 torn: {DAMAGED}" in listed
    assert "described" not in listed.splitlines()[1]
    assert f"status: extracted, described, {DAMAGED}" in cli("show", "1").out
    status = cli("status").out
    assert f"Damaged    torn: {DAMAGED}" in status
    assert "1 of 1 video extracted, 1 damaged" in status


def test_json_has_the_numbers_of_damaged_videos(cli, standin, torn):
    cli("add", "--sampling", "exact", torn)
    cli("enrich")
    numbers = {"readable": 4, "expected": 40, "is_severe": True}
    assert cli("list", "--json").json[0]["damage"] == numbers
    assert cli("show", "1", "--json").json["video"]["damage"] == numbers
    assert cli("export", "1", "--format", "json").json["video"]["damage"] == numbers
    shown = cli("status", "--json").json
    assert (shown["damaged"], shown["videos_enriched"]) == ([{"title": "torn", "readable": DAMAGED}], 0)


def test_few_unreadable_frames_are_noted_and_exit_0(cli, standin, tmp_path):
    clip = numbered_clip(tmp_path / "scratched.mp4", frames=40)
    overwrite_packets(clip, after=36)
    cli("add", "--sampling", "exact", clip)
    said = cli("enrich")
    assert (said.code, said.err) == (0, "")
    listed = cli("list").out
    assert "1 scratched: 36 of 40 frames readable" in listed
    assert "damaged" not in listed
    assert cli("list", "--json").json[0]["damage"] == {"readable": 36, "expected": 40, "is_severe": False}


@pytest.mark.slow
@pytest.mark.skipif(shared_videos() is None, reason="needs real footage")
def test_torn_real_footage_is_damaged(cli, standin, tmp_path):
    path = shared_videos() / "people-one-by-one.mp4"
    torn = tmp_path / "torn.mp4"
    shutil.copy(path, torn)
    overwrite_packets(torn, after=77)
    cli("add", torn)
    said = cli("enrich")
    assert said.code == 1
    assert "torn is damaged: 77 of 1,394 frames readable" in said.err
