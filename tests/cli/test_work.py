"""The commands enrich, extract, retry and estimate: output and exit codes."""

import asyncio
import shutil
import time

import pytest

from enrich.cli import progress
from enrich.describe.registry import make_describer
from enrich.library.adding import add_paths
from enrich.library.library import Library
from enrich.settings import load_settings
from enrich.video.fingerprint import fingerprint
from enrich.video.sampling import parse_sampling
from enrich.wording import format_duration
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker
from tests.cli.conftest import SPARSE_FRAMES
from tests.cli.terminal import ask, change, settled
from tests.clips import numbered_clip
from tests.standin import ShelfModel, Trick


def test_successful_run_exits_0(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("1 video extracted, 12 frames described (")
    assert sorted(standin.described) == list(range(100, 112))
    assert ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)]
    assert settled(home)


def test_second_run_has_nothing_to_do(cli, standin, library):
    said = cli("enrich")
    assert (said.code, said.out, said.err) == (0, "Everything is already described.\n", "")
    assert standin.chats == []


def test_extract_only_extracts_and_enrich_continues(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("extract")
    assert said.code == 0
    assert said.out.startswith("1 video extracted (")
    assert standin.history == []
    assert ask(home, "SELECT extraction_status, enrichment_status FROM videos") == [("extracted", "pending")]
    assert cli("enrich").out.startswith("12 frames described (")


def test_only_named_videos_are_processed(cli, standin, clips, home):
    cli("add", "--sampling", "exact", clips)
    assert cli("enrich", "party").code == 0
    assert set(standin.described) == set(range(100, 112))
    assert ask(home, "SELECT extraction_status FROM videos ORDER BY id") == [("pending",), ("extracted",)]


def test_limit_exits_0_and_prints_the_rest(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich", "--limit", "5")
    assert said.code == 0
    assert "5 frames described" in said.out
    assert "7 frames left. Continue with: everyframe enrich" in said.out
    assert settled(home)
    assert "7 frames described" in cli("enrich").out


@pytest.mark.parametrize("within", ["0s", "0.3s"])
def test_within_ends_in_time_and_can_be_continued(cli, standin, party, home, within):
    standin.behave(delay=0.1)
    cli("add", "--sampling", "exact", party)
    began = time.monotonic()
    said = cli("enrich", "--within", within)
    assert time.monotonic() - began < 4
    assert said.code == 0
    assert "Continue with: everyframe enrich" in said.out
    assert settled(home)
    standin.behave(delay=0)
    assert cli("enrich").code == 0
    assert sorted(standin.described) == list(range(100, 112))


def test_failed_frames_exit_1_with_count_reason_and_fix(cli, standin, party, home):
    standin.play(Trick.ERROR, frames=[103, 107])
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 1
    assert "10 frames described" in said.out
    first, second = said.err.splitlines()
    assert first == "everyframe: 2 of 12 frames failed. Retry with `everyframe retry`. Reasons:"
    assert second.startswith("everyframe: 2 × http://127.0.0.1:")
    assert "llama runner process has terminated" in second
    assert ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)]
    (row,) = cli("list").out.splitlines()[1:]
    assert row.split()[3:8] == ["12", "12", "10", "10", "2"]
    assert "not described: http://127.0.0.1" in cli("show", "1").out


def test_earlier_failures_are_still_reported(cli, standin, party):
    standin.play(Trick.ERROR, frames=[103])
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    said = cli("enrich")
    assert said.code == 1
    assert "1 of 12 frames failed" in said.err


def test_retry_queues_failed_frames(cli, standin, party):
    standin.play(Trick.ERROR, frames=[103, 107])
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    standin.calm()
    assert cli("retry", "--reason", "out of paper").out == "Nothing to retry.\n"
    assert cli("retry", "party", "--frame", "4").out == "Nothing to retry.\n"
    assert cli("retry", "party", "--frame", "7").out == "Queued 1 failed item again. Continue with: everyframe enrich\n"
    cli("retry", "party", "--frame", "700").refused("no kept frame represents frame 700")
    assert cli("retry", "--frame", "7").code == 2
    assert (
        cli("retry", "party", "--reason", "RUNNER process").out
        == "Queued 1 failed item again. Continue with: everyframe enrich\n"
    )
    assert cli("retry").out == "Nothing to retry.\n"
    said = cli("enrich")
    assert (said.code, said.err) == (0, "")
    assert "2 frames described" in said.out
    cli("retry", "nope").refused("no video is called 'nope'")


@pytest.mark.expected_errors("broken: ")
def test_undecodable_video_fails_alone(cli, standin, clips, tmp_path, home):
    broken = tmp_path / "broken.mp4"
    shutil.copy(clips / "numbers.mp4", broken)
    cli("add", "--sampling", "exact", broken, clips / "party.mp4")
    # Same fingerprint, but not a video.
    broken.write_bytes(b"\0" * 4000)
    change(home, "UPDATE videos SET fingerprint = ? WHERE id = 1", fingerprint(broken))
    said = cli("enrich")
    assert said.code == 1
    assert "1 of 2 videos failed" in said.err
    assert "broken.mp4 is not a video" in said.err
    assert "12 frames described" in said.out
    assert "broken.mp4 is not a video" in cli("list").out


def test_missing_video_waits_and_exits_1(cli, standin, party, tmp_path):
    video = tmp_path / "video.mp4"
    shutil.copy(party, video)
    cli("add", "--sampling", "exact", video)
    video.unlink()
    said = cli("enrich")
    assert said.code == 1
    assert "video is waiting: " in said.err
    assert "does not exist" in said.err
    shutil.copy(party, video)
    assert cli("enrich").code == 0


def test_flagged_replies_are_kept_and_counted(cli, standin, party):
    standin.play(Trick.CUT_OFF, frames=[105], stubborn=True)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 0
    assert "1 description flagged with a warning" in said.out
    assert "[cut_off]" in cli("show", "1").out


def test_baseline_says_that_no_model_described(cli, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich", "--describer", "baseline")
    assert (said.code, said.err) == (0, "")
    assert "12 frames measured by the baseline (not described by a model)" in said.out
    assert ask(home, "SELECT enrichment_status FROM videos") == [("pending",)]
    assert cli("list").out.splitlines()[1].split()[4:7] == ["12", "0", "0"]


def test_missing_model_is_reported_before_the_run(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    cli("enrich", "--model", "bakllava").refused(
        "`bakllava` is not installed", f"`OLLAMA_HOST={standin.address} ollama pull bakllava`"
    )
    assert ask(home, "SELECT count(*) FROM runs") == [(0,)]


def test_text_only_model_is_refused(cli, standin, party):
    standin.behave(models=(ShelfModel("llama3:8b", sees=False), ShelfModel("llava:7b")))
    cli("add", "--sampling", "exact", party)
    cli("enrich", "--model", "llama3:8b").refused("`llama3:8b` is not a vision model", "llava:7b")


@pytest.mark.parametrize("remote", ["", "https://ollama.com"])
def test_cloud_model_needs_a_setting(cli, standin, party, monkeypatch, remote):
    name = "qwen3-vl:235b" if remote else "qwen3-vl:235b-cloud"
    standin.behave(models=(ShelfModel(name, remote_host=remote),))
    cli("add", "--sampling", "exact", party)
    monkeypatch.setenv("EVERYFRAME_MODEL", name)
    cli("enrich").refused("Ollama's cloud", "EVERYFRAME_ALLOW_CLOUD=true")
    assert standin.chats == []
    monkeypatch.setenv("EVERYFRAME_ALLOW_CLOUD", "true")
    assert cli("enrich", "--limit", "1").code == 0


def test_estimate_adds_nothing(cli, standin, clips, home):
    said = cli("estimate", clips)
    assert said.code == 0
    assert "Frames:  42 in 2 videos" in said.out
    assert "Time:    not measured with llava:13b on this computer" in said.out
    assert cli("list", "--json").json == []
    value = cli("estimate", clips, "--json").json
    assert (value["seconds"], value["source_frames"], value["is_learnt"]) == (None, 42, False)
    assert value["disk_bytes"] > 0


def test_estimate_uses_the_measured_speed_of_the_model(cli, standin, party, numbers):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    value = cli("estimate", numbers, "--sampling", "exact", "--json").json
    assert value["kept_frames"] == 30
    assert value["seconds"] == pytest.approx(30 * 0.2 / 2, rel=0.3)
    said = cli("estimate", numbers, "--sampling", "exact").out
    assert f"Time:    {round(value['seconds'])} s with llava:13b on this computer" in said
    assert "not measured with llava:7b" in cli("estimate", numbers, "--model", "llava:7b").out


def test_add_uses_the_measured_speed(cli, standin, party, numbers, home):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    ((a_frame,),) = ask(home, "SELECT sum(latency_seconds - load_seconds) / sum(is_kept) FROM analyses")
    assert a_frame >= 0.2
    seconds = SPARSE_FRAMES * a_frame / 2  # two at once
    assert (
        f"Time:    {format_duration(seconds)} with llava:13b on this computer"
        in cli("add", numbers, "--sampling", "exact").out
    )


def test_estimate_of_a_missing_file_fails_after_the_others(cli, party, tmp_path):
    said = cli("estimate", tmp_path / "gone.mp4", party)
    assert said.code == 1
    assert "gone.mp4 does not exist" in said.err
    assert "Frames:  12 in 1 video," in said.out


def test_progress_without_a_terminal_is_plain_lines(cli, standin, party, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.3)
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    lines = said.err.splitlines()
    assert len(lines) >= 2
    assert any(
        line.startswith("described ") and "/12 frames (" in line and "frames/s, " in line and " left" in line
        for line in lines
    )
    assert "\x1b" not in said.err
    assert len(set(lines)) == len(lines)


def test_progress_line_has_the_reason_for_waiting(cli, party, standin, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    standin.play(Trick.BUSY, times=2)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 0
    assert "waiting: http://127.0.0.1" in said.err


@pytest.mark.slow
async def test_time_left_adapts_within_22_calls(standin, tmp_path, monkeypatch):
    """When requests slow down from 0.2 to 2 s, the time left is accurate to 10 % after 22 more requests."""
    clip = numbered_clip(tmp_path / "clip.mp4", frames=62)
    library = Library.open(load_settings())
    list(add_paths(library, [clip], sampling=parse_sampling("exact"), context=""))
    standin.behave(delay=0.2)
    describer = make_describer(library.settings)
    options = RunOptions()
    worker = Worker(library, describer, options)
    reader = progress.ProgressReader(worker, library, options)
    running = asyncio.create_task(worker.run())

    async def described(count: int) -> progress.ProgressSnapshot:
        while True:
            snapshot = await asyncio.to_thread(reader.snapshot)
            if snapshot.described >= count:
                return snapshot
            assert not running.done()
            await asyncio.sleep(0.02)

    await described(20)
    standin.behave(delay=2)
    snapshot = await described(42)
    at = time.monotonic()
    await described(62)
    took = time.monotonic() - at
    assert (await running).is_good
    await describer.close()
    assert snapshot.seconds_left == pytest.approx(took, rel=0.1)
