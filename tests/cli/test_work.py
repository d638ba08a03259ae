"""enrich, extract, retry, estimate: what is said of the work; exit codes that tell a failed night from a good one."""

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
from enrich.wording import span
from enrich.worker.run_options import RunOptions
from enrich.worker.worker import Worker
from tests.cli.conftest import SPARSE_FRAMES
from tests.cli.terminal import ask, change, settled
from tests.clips import numbered_clip
from tests.standin import ShelfModel, Trick


def test_a_good_night_exits_0_and_says_what_was_done(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("1 video decoded, 12 frames described (")
    assert sorted(standin.described) == list(range(100, 112))
    assert ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)]
    assert settled(home)


def test_a_second_night_has_nothing_to_do(cli, standin, library):
    said = cli("enrich")
    assert (said.code, said.out, said.err) == (0, "There was nothing to do.\n", "")
    assert standin.chats == []


def test_extract_only_decodes_and_enrich_goes_on(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("extract")
    assert said.code == 0
    assert said.out.startswith("1 video decoded (")
    assert standin.history == []
    assert ask(home, "SELECT extraction_status, enrichment_status FROM videos") == [("extracted", "pending")]
    assert cli("enrich").out.startswith("12 frames described (")


def test_only_the_named_videos_are_worked_on(cli, standin, clips, home):
    cli("add", "--sampling", "exact", clips)
    assert cli("enrich", "party").code == 0
    assert set(standin.described) == set(range(100, 112))
    assert ask(home, "SELECT extraction_status FROM videos ORDER BY id") == [("pending",), ("extracted",)]


def test_a_limit_is_a_good_night_that_says_what_is_left(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich", "--limit", "5")
    assert said.code == 0
    assert "5 frames described" in said.out
    assert "7 frames are left. Go on with: everyframe enrich" in said.out
    assert settled(home)
    assert "7 frames described" in cli("enrich").out


@pytest.mark.parametrize("within", ["0s", "0.3s"])
def test_a_night_of_so_many_hours_ends_in_time_and_can_be_gone_on_with(cli, standin, party, home, within):
    standin.behave(delay=0.1)
    cli("add", "--sampling", "exact", party)
    began = time.monotonic()
    said = cli("enrich", "--within", within)
    assert time.monotonic() - began < 4
    assert said.code == 0
    assert "Go on with: everyframe enrich" in said.out
    assert settled(home)
    standin.behave(delay=0)
    assert cli("enrich").code == 0
    assert sorted(standin.described) == list(range(100, 112))


def test_failed_frames_are_a_failed_night_with_how_many_why_and_what_to_do(cli, standin, party, home):
    standin.play(Trick.ERROR, frames=[103, 107])
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 1
    assert "10 frames described" in said.out
    first, second = said.err.splitlines()
    assert first == "everyframe: 2 of 12 frames failed; `everyframe retry` puts what failed back. Why:"
    assert second.startswith("everyframe: 2 × http://127.0.0.1:")
    assert "llama runner process has terminated" in second
    assert ask(home, "SELECT enrichment_status FROM videos") == [("enriched",)]
    (row,) = cli("list").out.splitlines()[1:]
    assert row.split()[3:8] == ["12", "12", "10", "10", "2"]
    assert "not described: http://127.0.0.1" in cli("show", "1").out


def test_a_night_after_a_failed_one_still_says_so(cli, standin, party):
    standin.play(Trick.ERROR, frames=[103])
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    said = cli("enrich")
    assert said.code == 1
    assert "1 of 12 frames failed" in said.err


def test_retry_puts_failed_frames_back(cli, standin, party):
    standin.play(Trick.ERROR, frames=[103, 107])
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    standin.calm()
    assert cli("retry", "--reason", "out of paper").out == "Nothing had failed.\n"
    assert cli("retry", "party", "--frame", "4").out == "Nothing had failed.\n"
    assert cli("retry", "party", "--frame", "7").out == "1 put back. Go on with: everyframe enrich\n"
    cli("retry", "party", "--frame", "700").refused("no kept frame stands for frame 700")
    assert cli("retry", "--frame", "7").code == 2
    assert cli("retry", "party", "--reason", "RUNNER process").out == "1 put back. Go on with: everyframe enrich\n"
    assert cli("retry").out == "Nothing had failed.\n"
    said = cli("enrich")
    assert (said.code, said.err) == (0, "")
    assert "2 frames described" in said.out
    cli("retry", "nope").refused("no video is called 'nope'")


@pytest.mark.expected_errors("broken: ")
def test_a_video_that_cannot_be_decoded_is_a_failed_night_for_it_alone(cli, standin, clips, tmp_path, home):
    broken = tmp_path / "broken.mp4"
    shutil.copy(clips / "numbers.mp4", broken)
    cli("add", "--sampling", "exact", broken, clips / "party.mp4")
    # The same file as far as its fingerprint goes, and no film at all.
    broken.write_bytes(b"\0" * 4000)
    change(home, "UPDATE videos SET fingerprint = ? WHERE id = 1", fingerprint(broken))
    said = cli("enrich")
    assert said.code == 1
    assert "1 of 2 videos failed" in said.err
    assert "broken.mp4 is not a video" in said.err
    assert "12 frames described" in said.out
    assert "broken.mp4 is not a video" in cli("list").out


def test_a_video_that_is_gone_waits_and_is_no_good_night(cli, standin, party, tmp_path):
    film = tmp_path / "film.mp4"
    shutil.copy(party, film)
    cli("add", "--sampling", "exact", film)
    film.unlink()
    said = cli("enrich")
    assert said.code == 1
    assert "film waits: " in said.err
    assert "is not there" in said.err
    shutil.copy(party, film)
    assert cli("enrich").code == 0


def test_replies_with_a_warning_are_kept_counted_and_shown(cli, standin, party):
    standin.play(Trick.CUT_OFF, frames=[105], stubborn=True)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 0
    assert "1 description has a warning" in said.out
    assert "[cut_off]" in cli("show", "1").out


def test_the_baseline_says_that_no_model_has_described(cli, party, home):
    cli("add", "--sampling", "exact", party)
    said = cli("enrich", "--describer", "baseline")
    assert (said.code, said.err) == (0, "")
    assert "12 frames measured by the baseline; no model has described them" in said.out
    assert ask(home, "SELECT enrichment_status FROM videos") == [("pending",)]
    assert cli("list").out.splitlines()[1].split()[4:7] == ["12", "0", "0"]


def test_a_model_that_is_missing_is_said_before_the_night_with_the_command(cli, standin, party, home):
    cli("add", "--sampling", "exact", party)
    cli("enrich", "--model", "bakllava").refused(
        "`bakllava` is not installed", f"`OLLAMA_HOST={standin.address} ollama pull bakllava`"
    )
    assert ask(home, "SELECT count(*) FROM runs") == [(0,)]


def test_a_model_without_eyes_is_refused(cli, standin, party):
    standin.behave(models=(ShelfModel("llama3:8b", sees=False), ShelfModel("llava:7b")))
    cli("add", "--sampling", "exact", party)
    cli("enrich", "--model", "llama3:8b").refused("`llama3:8b` cannot see pictures", "llava:7b")


@pytest.mark.parametrize("remote", ["", "https://ollama.com"])
def test_a_cloud_model_is_refused_unless_a_setting_allows_it(cli, standin, party, monkeypatch, remote):
    name = "qwen3-vl:235b" if remote else "qwen3-vl:235b-cloud"
    standin.behave(models=(ShelfModel(name, remote_host=remote),))
    cli("add", "--sampling", "exact", party)
    monkeypatch.setenv("EVERYFRAME_MODEL", name)
    cli("enrich").refused("Ollama's cloud", "EVERYFRAME_ALLOW_CLOUD=true")
    assert standin.chats == []
    monkeypatch.setenv("EVERYFRAME_ALLOW_CLOUD", "true")
    assert cli("enrich", "--limit", "1").code == 0


def test_estimate_adds_nothing_and_says_not_measured_before_the_first_call(cli, standin, clips, home):
    said = cli("estimate", clips)
    assert said.code == 0
    assert "Frames:  42 in 2 videos" in said.out
    assert "Time:    not measured with llava:13b here" in said.out
    assert cli("list", "--json").json == []
    value = cli("estimate", clips, "--json").json
    assert (value["seconds"], value["source_frames"], value["is_learnt"]) == (None, 42, False)
    assert value["disk_bytes"] > 0


def test_estimate_learns_from_calls_for_the_model_that_made_them(cli, standin, party, numbers):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    value = cli("estimate", numbers, "--sampling", "exact", "--json").json
    assert value["kept_frames"] == 30
    assert value["seconds"] == pytest.approx(30 * 0.2 / 2, rel=0.3)
    said = cli("estimate", numbers, "--sampling", "exact").out
    assert f"Time:    {round(value['seconds'])} s with llava:13b here" in said
    assert "not measured with llava:7b" in cli("estimate", numbers, "--model", "llava:7b").out


def test_add_says_the_time_that_was_learnt(cli, standin, party, numbers, home):
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    cli("enrich")
    ((a_frame,),) = ask(home, "SELECT sum(latency_seconds - load_seconds) / sum(is_kept) FROM analyses")
    assert a_frame >= 0.2
    seconds = SPARSE_FRAMES * a_frame / 2  # two at once
    assert f"Time:    {span(seconds)} with llava:13b here" in cli("add", numbers, "--sampling", "exact").out


def test_estimate_of_what_is_no_film_fails_after_the_others(cli, party, tmp_path):
    said = cli("estimate", tmp_path / "gone.mp4", party)
    assert said.code == 1
    assert "gone.mp4 is not there" in said.err
    assert "Frames:  12 in 1 video," in said.out


def test_where_no_terminal_is_a_plain_line_comes_now_and_then(cli, standin, party, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.3)
    standin.behave(delay=0.2)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    lines = said.err.splitlines()
    assert len(lines) >= 2
    assert any(
        line.startswith("described ") and " of 12, " in line and "frames/s, " in line and " left" in line
        for line in lines
    )
    assert "\x1b" not in said.err
    assert len(set(lines)) == len(lines)


def test_the_plain_line_says_why_it_waits(cli, party, standin, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.2)
    standin.play(Trick.BUSY, times=2)
    cli("add", "--sampling", "exact", party)
    said = cli("enrich")
    assert said.code == 0
    assert "waiting: http://127.0.0.1" in said.err


@pytest.mark.slow
async def test_the_time_left_is_right_after_twenty_slower_calls(standin, tmp_path, monkeypatch):
    """From 0.2 to 2 s a call: what the progress shows 22 calls later comes true within 10 %."""
    clip = numbered_clip(tmp_path / "clip.mp4", frames=62)
    library = Library.open(load_settings())
    list(add_paths(library, [clip], sampling=parse_sampling("exact"), context=""))
    standin.behave(delay=0.2)
    describer = make_describer(library.settings)
    order = RunOptions()
    worker = Worker(library, describer, order)
    looker = progress.ProgressReader(worker, library, order)
    running = asyncio.create_task(worker.run())

    async def described(count: int) -> progress.ProgressSnapshot:
        while True:
            look = await asyncio.to_thread(looker.look)
            if look.described >= count:
                return look
            assert not running.done()
            await asyncio.sleep(0.02)

    await described(20)
    standin.behave(delay=2)
    look = await described(42)
    at = time.monotonic()
    await described(62)
    took = time.monotonic() - at
    assert (await running).is_good
    await describer.close()
    assert look.seconds_left == pytest.approx(took, rel=0.1)
