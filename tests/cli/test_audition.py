"""audition: models compared on one's own frames, and nothing else changed by it."""

import json
from datetime import UTC, datetime

import pytest

from db import runs
from db.engine import reading, writing
from db.models import RunState
from db.queries import speed
from enrich.audition import choose_frames
from enrich.library.library import open_engine
from enrich.process import this_process
from enrich.settings import load_settings
from tests.cli.terminal import ask, change, settled
from tests.standin import ShelfModel, Trick

TWO = (ShelfModel("llava:13b"), ShelfModel("moondream:latest"))


def lines(said):
    return [json.loads(line) for line in said.out.splitlines()]


def test_every_frame_by_every_model_then_its_pace_a_line_each(cli, library, standin):
    standin.behave(models=TWO, delay=0.1)
    said = cli("audition", "--model", "llava:13b", "--model", "moondream", "--frames", "4", "--json")
    assert (said.code, said.err) == (0, "")
    told = lines(said)
    assert ["text" in line for line in told] == [True] * 4 + [False] + [True] * 4 + [False]
    first, second = told[:4], told[5:9]
    assert {line["model"] for line in first} == {"llava:13b"}
    assert {line["model"] for line in second} == {"moondream"}
    assert {line["frame_id"] for line in first} == {line["frame_id"] for line in second}
    for line in first + second:
        assert set(line) == {
            *("model", "frame_id", "video_id", "timestamp", "text", "tags", "seconds", "warnings", "error")
        }
        assert line["text"].startswith("Frame number ")
        assert line["seconds"] == pytest.approx(0.1, abs=0.08)
        assert line["error"] is None
    verdict = told[4]
    assert (verdict["model"], verdict["frames"], verdict["library_frames"]) == ("llava:13b", 4, 18)
    assert verdict["seconds_per_frame"] == pytest.approx(0.1, abs=0.08)
    assert verdict["days_for_library"] == pytest.approx(18 * verdict["seconds_per_frame"] / 2 / 86400)
    assert standin.loaded == set()


def test_nothing_of_the_library_changes_but_its_knowledge_of_speeds(cli, library, standin):
    standin.behave(models=TWO, delay=0.2)
    tables = ("frames", "tasks", "videos", "search_documents")
    before = [ask(library, f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    cli("audition", "--model", "moondream", "--frames", "6")
    assert [ask(library, f"SELECT * FROM {table}") for table in tables] == before  # noqa: S608
    booked = "SELECT count(*), sum(is_kept), count(run_id) FROM analyses WHERE pass = 'audition'"
    assert ask(library, booked) == [(6, 0, 0)]
    engine = open_engine(load_settings())
    with reading(engine) as connection:
        found = speed(connection, "ollama", "moondream")
    engine.dispose()
    assert found.seconds_per_frame == pytest.approx(0.2, abs=0.1)
    assert settled(library)


def test_a_frame_that_is_asked_twice_counts_as_one_for_the_speed(cli, library, standin):
    standin.behave(models=TWO, delay=0.1)
    standin.play(Trick.NOT_JSON)
    told = lines(cli("audition", "--model", "moondream", "--frames", "3", "--json"))
    assert all(line["seconds"] > 0.18 for line in told[:3])
    engine = open_engine(load_settings())
    with reading(engine) as connection:
        found = speed(connection, "ollama", "moondream")
    engine.dispose()
    assert (found.calls, found.seconds_per_frame) == (6, pytest.approx(0.2, abs=0.1))


def test_frames_are_spread_over_the_library_and_the_same_every_time(library):
    engine = open_engine(load_settings())
    with reading(engine) as connection:
        first, again = (choose_frames(connection, count=6) for _ in range(2))
        everything = choose_frames(connection, count=100)
        of_one = choose_frames(connection, count=3, video_id=2)
    engine.dispose()
    assert [one.frame.id for one in first] == [one.frame.id for one in again]
    assert [one.video.id for one in first] == [1, 1, 2, 2, 2, 2]
    assert len({one.frame.id for one in everything}) == 18
    assert [one.frame.index for one in of_one] == [2, 6, 10]


def test_one_model_that_is_missing_does_not_stop_the_others(cli, library, standin):
    said = cli("audition", "--model", "bakllava", "--model", "llava:13b", "--frames", "2", "--json")
    assert said.code == 1
    missing, *takes, verdict = lines(said)
    assert "`bakllava` is not installed" in missing["error"]
    assert (missing["frames"], missing["days_for_library"]) == (0, None)
    assert [take["error"] for take in takes] == [None, None]
    assert verdict["error"] is None


def test_a_frame_that_fails_is_told_with_its_reason(cli, library, standin):
    standin.play(Trick.ERROR, frames=[5])
    told = lines(cli("audition", "--video", "numbers", "--json"))
    assert len(told) == 7
    failed = [line for line in told if line.get("text", "") is None]
    assert len(failed) == 1
    assert "runner process has terminated" in failed[0]["error"]
    assert told[-1]["frames"] == 5


def test_for_people_it_says_texts_and_a_table(cli, library, standin):
    said = cli("audition", "--frames", "2")
    assert said.code == 0
    assert "llava:13b, numbers at 0:00.800" in said.out
    assert "Frame number 20:" in said.out
    assert "For 18 frames:" in said.out


def test_more_than_three_models_are_too_many_and_an_empty_library_has_no_frames(cli, home, standin):
    four = [word for name in "abcd" for word in ("--model", name)]
    cli("audition", *four).refused("at most 3 models", code=2)
    cli("audition").refused("there are no frames yet", "everyframe extract")


def test_beside_a_worker_that_is_at_work_it_is_refused(cli, library, standin):
    engine = open_engine(load_settings())
    with writing(engine) as connection:
        run, _ = runs.begin(connection, this_process(), options={}, is_alive=lambda _: True, now=datetime.now(UTC))
        runs.change(connection, run, RunState.RUNNING)
    assert cli("audition", "--frames", "1").code == 0  # nothing is left to describe
    change(library, "UPDATE tasks SET status = 'todo' WHERE frame_id = 1")
    cli("audition", "--frames", "1").refused("pause it first with `everyframe pause`")
    with writing(engine) as connection:
        runs.change(connection, run, RunState.PAUSED)
    assert cli("audition", "--frames", "1").code == 0
    engine.dispose()
