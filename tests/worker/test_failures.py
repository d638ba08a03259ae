"""What the worker promises when something goes wrong: each row broken for real, in one process."""

import shutil
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import pytest

from enrich.errors import RunningError
from enrich.library.images import DiskFullError, require_disk
from enrich.worker.run_options import RunEnd, RunOptions
from tests.clips import numbered_clip
from tests.standin import ShelfModel, StandIn, Trick
from tests.worker.house import House, Running, assert_settled, assert_truthful, until

Clip = Callable[..., Path]


def reason(house: House) -> str:
    """Why the last run is in its state; nothing before the first."""
    return str(house.value("SELECT coalesce((SELECT reason FROM runs ORDER BY id DESC LIMIT 1), '')"))


def state(house: House) -> str:
    return str(house.value("SELECT coalesce((SELECT state FROM runs ORDER BY id DESC LIMIT 1), '')"))


def warnings(house: House) -> set[str]:
    return {doubt["problem"] for frame in house.frames() for doubt in frame.warnings}


def assert_a_good_night(house: House) -> None:
    """Everything is described by its own picture, and no attempt was ever counted."""
    assert_truthful(house)
    assert house.attempts() == 0
    assert house.tasks() == {"done": len(house.frames())}
    assert_settled(house)


# the host


async def test_without_ollama_decoding_goes_on_and_the_run_waits_and_says_why(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.stop()
    house.add(clip(12))
    async with Running(house, RunOptions()) as running:
        await until(lambda: state(house) == "waiting", "the run waits")
        await until(lambda: house.video().extraction_status == "extracted", "decoding goes on")
        assert "ollama serve" in reason(house)
        standin.start()
        assert (await running.end()).is_good
    assert_a_good_night(house)


async def test_ollama_going_away_in_the_middle_costs_nothing_but_time(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.02)
    house.add(clip(40))
    async with Running(house, RunOptions()) as running:
        for so_far in (5, 15, 25):
            await until(lambda so_far=so_far: house.described() >= so_far, "some are described")
            standin.stop()
            await until(lambda: state(house) == "waiting", "the run waits")
            standin.start()
        assert (await running.end()).is_good
    assert_a_good_night(house)
    assert house.value("SELECT count(*) FROM analyses") == 40


async def test_a_busy_host_is_asked_more_slowly_and_no_frame_fails(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.BUSY, times=6)
    house.add(clip(10))
    assert (await house.enrich()).is_good
    assert_a_good_night(house)


@pytest.mark.parametrize(
    "trick", [Trick.ERROR, Trick.HTML, Trick.HALF, Trick.DIE, Trick.BAD_GATEWAY, Trick.BROKEN_JSON]
)
async def test_a_host_that_fails_on_everything_for_a_while_costs_no_frame_an_attempt(
    house: House, standin: StandIn, clip: Clip, trick: Trick
) -> None:
    standin.behave(delay=0.01)
    house.add(clip(20))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() >= 5, "some are described")
        standin.play(trick)
        await until(lambda: state(house) == "waiting", "the host rests")
        standin.calm()
        assert (await running.end()).is_good
    assert_a_good_night(house)


async def test_a_call_that_hangs_is_given_up_counted_and_made_again(
    make_house: Callable[..., House], standin: StandIn, clip: Clip
) -> None:
    house = make_house(call_seconds=0.3)
    standin.play(Trick.HANG, times=1, frames=[4])
    house.add(clip(8))
    assert (await house.enrich()).is_good
    assert_truthful(house)
    assert house.attempts() == 1
    assert_settled(house)


async def test_a_model_that_is_missing_is_waited_for(house: House, standin: StandIn, clip: Clip) -> None:
    standin.behave(models=(ShelfModel("bakllava:latest"),))
    house.add(clip(6))
    async with Running(house, RunOptions()) as running:
        await until(lambda: "ollama pull llava:13b" in reason(house), "the run says what to do")
        standin.behave(models=(ShelfModel("llava:13b"),))
        assert (await running.end()).is_good
    assert_a_good_night(house)


# the frame


async def test_a_frame_that_fails_three_times_while_others_pass_is_set_aside_and_can_be_put_back(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[7])
    house.add(clip(15))
    summary = await house.enrich()

    assert summary.ending is RunEnd.FINISHED
    assert not summary.is_good
    [(why, count)] = summary.failures
    assert (count, "llama runner" in why) == (1, True)
    assert house.described() == 14
    assert house.tasks() == {"done": 14, "failed": 1}
    assert house.value("SELECT attempts FROM tasks WHERE status = 'failed'") == 3
    assert house.video().enrichment_status == "enriched"
    assert house.video().failed == 1

    standin.calm()
    assert house.retry(reason="llama runner") == 1
    assert (await house.enrich()).is_good
    assert_truthful(house)
    assert_settled(house)


async def test_frames_that_are_bad_in_a_row_are_set_aside_while_their_host_is_well(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.ERROR, frames=[3, 4, 5, 6, 7])
    house.add(clip(15))
    summary = await house.enrich()
    assert summary.failures[0][1] == 5
    assert house.described() == 10
    assert_settled(house)


async def test_a_video_of_which_nothing_can_be_described_has_failed(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.ERROR, frames=range(5))
    house.add(clip(5))
    await house.enrich()
    assert house.video().enrichment_status == "failed"


async def test_a_frame_that_brings_the_server_down_time_and_again_does_not_hold_up_the_night(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.play(Trick.DIE, frames=[3])
    house.add(clip(9))
    summary = await house.enrich()
    assert summary.ending is RunEnd.FINISHED
    assert house.described() == 8
    assert house.tasks() == {"done": 8, "failed": 1}


# the reply


@pytest.mark.parametrize(
    ("trick", "problem"),
    [
        (Trick.CUT_OFF, "cut_off"),
        (Trick.NOT_JSON, "not_json"),
        (Trick.REPEATS, "repeats"),
        (Trick.LEAKS, "leaks_prompt"),
        (Trick.EMPTY, "empty"),
        (Trick.SPACES, "empty"),
    ],
)
async def test_a_bad_reply_is_noticed_and_asked_for_in_another_way(
    house: House, standin: StandIn, clip: Clip, trick: Trick, problem: str
) -> None:
    standin.play(trick, times=1, frames=[2])
    house.add(clip(6))
    assert (await house.enrich()).is_good
    calls = house.ask(
        "SELECT a.is_kept, a.warnings FROM analyses a JOIN frames f ON f.id = a.frame_id"
        ' WHERE f."index" = 2 ORDER BY a.id'
    )
    assert [bool(kept) for kept, _ in calls] == [False, True]
    assert problem in calls[0][1]
    assert "number 2:" in (house.frames()[2].local_description or "")
    assert house.attempts() == 0


async def test_a_text_that_stays_doubtful_is_kept_with_its_warning(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.SAME_TEXT, stubborn=True)
    house.add(clip(40))
    assert (await house.enrich()).is_good
    assert house.described() == 40
    assert warnings(house) == {"same_text"}


async def test_only_empty_replies_make_a_frame_fail(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.EMPTY, stubborn=True, frames=[1])
    house.add(clip(6))
    summary = await house.enrich()
    assert summary.failures == [("the model's reply was empty", 1)]
    assert house.described() == 5
    assert house.value("SELECT count(*) FROM analyses WHERE NOT is_kept") == 6  # three attempts of two calls


async def test_asking_twice_is_given_up_when_it_never_helps(house: House, standin: StandIn, clip: Clip) -> None:
    standin.play(Trick.NOT_JSON, stubborn=True)
    house.add(clip(20))
    await house.enrich(RunOptions())
    assert house.value("SELECT count(*) FROM analyses") < 30


# the file


async def test_a_missing_file_is_waited_for_and_named_while_others_go_on(
    house: House, tmp_path: Path, clip: Clip
) -> None:
    lost = Path(shutil.copy(clip(10), tmp_path / "lost.mp4"))
    other = numbered_clip(tmp_path / "other.mp4", frames=8)
    house.add(lost, other)
    lost.rename(tmp_path / "elsewhere.mp4")

    summary = await house.enrich()
    assert not summary.is_good
    assert [title for title, _ in summary.waiting] == ["lost"]
    assert "lost.mp4" in (house.video(1).error or "")
    assert house.video(2).enrichment_status == "enriched"

    (tmp_path / "elsewhere.mp4").rename(lost)
    assert (await house.enrich()).is_good
    assert_truthful(house, 1)
    assert house.video(1).error is None


async def test_another_file_under_the_same_path_is_noticed_before_it_is_decoded(
    house: House, tmp_path: Path, clip: Clip
) -> None:
    film = Path(shutil.copy(clip(10), tmp_path / "film.mp4"))
    house.add(film)
    shutil.copy(clip(14), film)
    summary = await house.enrich()
    assert "not the file that was added" in summary.waiting[0][1]
    assert house.frames() == []
    assert_settled(house)


async def test_a_damaged_film_gives_what_can_be_decoded(house: House, tmp_path: Path, clip: Clip) -> None:
    whole = clip(60).read_bytes()
    broken = tmp_path / "broken.mp4"
    middle = len(whole) // 2
    broken.write_bytes(whole[:middle] + b"\0" * 300 + whole[middle + 300 :])
    house.add(broken)
    await house.enrich()
    row = house.video()
    assert row.extraction_status == "extracted"
    assert row.enrichment_status == "enriched"
    assert 30 < row.kept <= 60
    assert sum(frame.stands_for or 0 for frame in house.frames()) == row.frame_count


@pytest.mark.parametrize("harm", ["missing", "cut short", "empty"])
async def test_a_picture_that_is_missing_or_broken_is_made_again(house: House, clip: Clip, harm: str) -> None:
    house.add(clip(10))
    await house.enrich(RunOptions(describe=False))
    picture = house.image(house.frames()[6])
    before = picture.read_bytes()
    match harm:
        case "missing":
            picture.unlink()
        case "cut short":
            picture.write_bytes(before[: len(before) // 2])
        case _:
            picture.write_bytes(b"")
    assert (await house.enrich()).is_good
    assert_truthful(house)
    assert picture.read_bytes() == before


async def test_a_picture_that_cannot_be_made_again_waits_for_its_film(house: House, tmp_path: Path, clip: Clip) -> None:
    film = Path(shutil.copy(clip(10), tmp_path / "film.mp4"))
    house.add(film)
    await house.enrich(RunOptions(describe=False))
    house.image(house.frames()[6]).unlink()
    film.rename(tmp_path / "away.mp4")
    summary = await house.enrich()
    assert summary.left == 1
    assert house.described() == 9
    assert house.attempts() == 0

    (tmp_path / "away.mp4").rename(film)
    assert (await house.enrich()).is_good
    assert_truthful(house)


async def test_decoding_pauses_before_the_disk_is_full_and_says_so(
    make_house: Callable[..., House], clip: Clip
) -> None:
    house = make_house(disk_reserve_mb=1_000_000_000)
    house.add(clip(10))
    summary = await house.enrich()
    assert "reserve" in summary.waiting[0][1]
    assert house.with_settings(disk_reserve_mb=0).settings.disk_reserve_mb == 0
    assert (await house.with_settings(disk_reserve_mb=0).enrich()).is_good
    assert_truthful(house)


def test_decoding_pauses_while_what_is_in_flight_still_fits_above_the_reserve(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = make_house(disk_reserve_mb=1000).library
    disk = shutil.disk_usage(library.settings.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=1_200_000_000))
    require_disk(library)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: disk._replace(free=1_020_000_000))
    with pytest.raises(DiskFullError, match=r"only 1020 MB are free.* 1000 MB are kept in reserve"):
        require_disk(library)


# the run


async def test_a_second_worker_is_refused_while_the_first_lives(house: House, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.1)
    house.add(clip(12))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() > 0, "the first works")
        with pytest.raises(RunningError, match="already"):
            await house.enrich()
        await running.end()
    assert_a_good_night(house)


async def test_told_to_stop_it_ends_its_calls_and_gives_the_rest_back_uncounted(
    house: House, standin: StandIn, clip: Clip
) -> None:
    standin.behave(delay=0.1)
    house.add(clip(30))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() >= 3, "some are described")
        running.worker.stop()
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert_settled(house)
    assert house.attempts() == 0
    answered = sum(request.status == HTTPStatus.OK for request in standin.chats)
    assert house.described() == answered, "a call that was under way was brought to its end and saved"

    standin.behave(delay=0)
    assert (await house.enrich()).is_good
    assert_a_good_night(house)


async def test_a_stop_asked_for_in_the_database_is_obeyed(house: House, standin: StandIn, clip: Clip) -> None:
    standin.behave(delay=0.1)
    house.add(clip(60))
    async with Running(house, RunOptions()) as running:
        await until(lambda: house.described() >= 1, "it works")
        house.change("UPDATE runs SET requested = 'stop'")
        summary = await running.end()
    assert summary.ending is RunEnd.STOPPED
    assert_settled(house)
