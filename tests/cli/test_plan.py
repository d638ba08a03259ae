"""The command `plan`, and the time limits of enrich and start."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.terminal import change
from tests.clips import numbered_clip


@pytest.fixture
def video(tmp_path, cli):
    """Ten seconds, 50 frames, none described."""
    clip = numbered_clip(tmp_path / "garden.mp4", frames=50, fps=5)
    assert cli("add", clip, "--sampling", "exact").code == 0
    return clip


def test_no_plan_before_the_model_is_timed(cli, video):
    said = cli("plan", "--within", "8h")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Plan:    llava:13b has not been timed on this computer yet")
    value = cli("plan", "--within", "8h", "--json").json
    assert value.pop("until") is not None
    assert value.pop("reason").startswith("llava:13b has not been timed")
    assert value.pop("seconds") == pytest.approx(8 * 3600, abs=1)
    assert set(value.items()) == {
        (key, None) for key in ("calls", "left", "gap_seconds", "all_seconds", "hours", "text")
    }


def test_plan_has_density_and_finish_time(cli, video, home, standin):
    cli("enrich", "--limit", "10")
    change(home, "UPDATE analyses SET latency_seconds = 0.2, load_seconds = 0")  # two at once
    value = cli("plan", "--within", "2s", "--json").json
    assert value["left"] == 40
    assert (value["calls"], value["all_seconds"]) == (20, pytest.approx(4))
    assert 0.2 < value["gap_seconds"] < 2
    assert value["text"].startswith("one frame every ")
    assert value["reason"] is None
    whole = cli("plan", "--json").json
    assert (whole["seconds"], whole["until"], whole["gap_seconds"], whole["calls"]) == (None, None, None, 40)
    assert cli("plan").out.startswith("Plan:    all 40 frames by ")
    assert len(standin.chats) == 10


def test_by_time_of_day_is_the_next_occurrence(cli, video):
    value = cli("plan", "--by", "07:00", "--json").json
    end = datetime.fromisoformat(value["until"])
    assert timedelta(0) < end - datetime.now(UTC) <= timedelta(days=1)
    assert f"{end.astimezone():%H:%M}" == "07:00"


def test_plan_of_a_described_library(cli, library):
    assert cli("plan").out == "Plan:    everything is already described\n"


@pytest.mark.parametrize("command", ["plan", "enrich", "start"])
def test_invalid_time_limit_is_wrong_usage(cli, video, command):
    cli(command, "--within", "soon").refused("--within", "write 8h", code=2)
    cli(command, "--by", "25:00").refused("--by", "not a valid time", code=2)
    cli(command, "--by", "07:00", "--within", "8h").refused("use either --within or --by", code=2)


def test_worker_at_login_has_no_time_limit(cli, video):
    cli("start", "--within", "8h", "--at-login").refused("--at-login", code=2)


def test_enrich_stops_at_the_time(cli, video, standin):
    standin.behave(delay=0.2)
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    said = cli("enrich", "--by", end.isoformat())
    assert said.code == 0
    assert datetime.now(UTC) - end < timedelta(seconds=3)
    assert "Continue with: everyframe enrich" in said.out


def test_plan_and_estimate_name_the_working_hours(cli, video, home, standin, monkeypatch):
    cli("enrich", "--limit", "10")
    change(home, "UPDATE analyses SET latency_seconds = 3600, load_seconds = 0")  # two at once: 20 h for the rest
    always = cli("plan", "--json").json
    assert (always["hours"], always["all_seconds"]) == (None, pytest.approx(20 * 3600))
    monkeypatch.setenv("EVERYFRAME_HOURS", "22:00-06:00")
    value = cli("plan", "--json").json
    assert value["hours"] == "22:00-06:00"
    assert value["all_seconds"] > 20 * 3600 + 24 * 3600, "it takes three nights"
    assert value["text"].endswith(" (within working hours 22:00-06:00)")
    assert "within working hours 22:00-06:00: by " in cli("estimate", video, "--sampling", "exact").out
    estimated = cli("estimate", video, "--sampling", "exact", "--json").json
    assert estimated["elapsed_seconds"] > estimated["seconds"] == pytest.approx(25 * 3600)
