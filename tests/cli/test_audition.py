"""The command `audition`: compares models on frames of the library and changes no description."""

import json
from datetime import UTC, datetime

import pytest

from db import runs, store
from db.engine import reading, writing
from db.models import RunState
from db.queries import speed
from enrich.audition import choose_frames
from enrich.errors import LibraryError
from enrich.library.library import open_engine
from enrich.process import this_process
from enrich.settings import load_settings
from tests.cli.terminal import ask, change, settled
from tests.standin import ShelfModel, Trick

TWO = (ShelfModel("llava:13b"), ShelfModel("moondream:latest"))


def lines(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_json_has_one_line_per_frame_and_per_model(cli, library, standin):
    standin.behave(models=TWO, delay=0.1)
    said = cli("audition", "--model", "llava:13b", "--model", "moondream", "--frames", "4", "--json")
    assert (said.code, said.err) == (0, "")
    rows = lines(said)
    assert ["text" in line for line in rows] == [True] * 4 + [False] + [True] * 4 + [False]
    first, second = rows[:4], rows[5:9]
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
    summary = rows[4]
    assert (summary["model"], summary["frames"], summary["library_frames"]) == ("llava:13b", 4, 18)
    assert summary["seconds_per_frame"] == pytest.approx(0.1, abs=0.08)
    assert summary["days_for_library"] == pytest.approx(18 * summary["seconds_per_frame"] / 2 / 86400)
    assert standin.loaded == set()


def test_audition_changes_only_measured_speeds(cli, library, standin):
    standin.behave(models=TWO, delay=0.2)
    tables = ("frames", "tasks", "videos", "search_documents")
    before = [ask(library, f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    cli("audition", "--model", "moondream", "--frames", "6")
    assert [ask(library, f"SELECT * FROM {table}") for table in tables] == before  # noqa: S608
    recorded = "SELECT count(*), sum(is_kept), count(run_id) FROM analyses WHERE pass = 'audition'"
    assert ask(library, recorded) == [(6, 0, 0)]
    engine = open_engine(load_settings())
    with reading(engine) as connection:
        found = speed(connection, "ollama", "moondream")
    engine.dispose()
    assert found.seconds_per_frame == pytest.approx(0.2, abs=0.1)
    assert settled(library)


def test_retried_frame_counts_once_for_the_speed(cli, library, standin):
    standin.behave(models=TWO, delay=0.1)
    standin.play(Trick.NOT_JSON)
    rows = lines(cli("audition", "--model", "moondream", "--frames", "3", "--json"))
    assert all(line["seconds"] > 0.18 for line in rows[:3])
    engine = open_engine(load_settings())
    with reading(engine) as connection:
        found = speed(connection, "ollama", "moondream")
    engine.dispose()
    assert (found.calls, found.seconds_per_frame) == (6, pytest.approx(0.2, abs=0.1))


def test_sample_is_spread_and_deterministic(library):
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


def test_missing_model_does_not_stop_the_others(cli, library, standin):
    said = cli("audition", "--model", "bakllava", "--model", "llava:13b", "--frames", "2", "--json")
    assert said.code == 1
    missing, *replies, summary = lines(said)
    assert "`bakllava` is not installed" in missing["error"]
    assert (missing["frames"], missing["days_for_library"]) == (0, None)
    assert [reply["error"] for reply in replies] == [None, None]
    assert summary["error"] is None


@pytest.mark.parametrize(
    ("trick", "reason"),
    [
        (Trick.ERROR, "runner process has terminated"),
        (Trick.CRASH, "runner has unexpectedly stopped"),
        (Trick.DIE, "closed the connection"),
    ],
)
def test_only_the_frame_that_fails_has_a_reason(cli, library, standin, trick, reason):
    standin.behave(delay=0.05)  # so that another frame is in flight with it
    standin.play(trick, frames=[5])
    rows = lines(cli("audition", "--video", "numbers", "--json"))
    assert len(rows) == 7
    failed = [line for line in rows if line.get("text", "") is None]
    assert len(failed) == 1
    assert reason in failed[0]["error"]
    assert rows[-1]["frames"] == 5


def test_failed_save_is_one_line(cli, library, standin, monkeypatch):
    def full(*_, **__):
        raise LibraryError("the disk is full: free some space")

    monkeypatch.setattr(store, "record_calls", full)
    monkeypatch.setenv("EVERYFRAME_CONCURRENCY", "1")  # a request in flight could load the model again
    said = cli("audition", "--frames", "4")
    assert (said.code, said.err) == (1, "everyframe: the disk is full: free some space\n")
    assert standin.loaded == set()


def test_text_output_has_descriptions_and_a_table(cli, library, standin):
    said = cli("audition", "--frames", "2")
    assert said.code == 0
    assert "llava:13b, numbers at 0:00.800" in said.out
    assert "Frame number 20:" in said.out
    assert "Time for 18 frames in the library:" in said.out


def test_too_many_models_and_empty_library_are_refused(cli, home, standin):
    four = [word for name in "abcd" for word in ("--model", name)]
    cli("audition", *four).refused("at most 3 models", code=2)
    cli("audition").refused("there are no frames yet", "everyframe extract")


def test_refused_while_a_worker_is_describing(cli, library, standin):
    engine = open_engine(load_settings())
    with writing(engine) as connection:
        run, _ = runs.begin(connection, this_process(), options={}, is_alive=lambda _: True, now=datetime.now(UTC))
        runs.set_state(connection, run, RunState.RUNNING)
    assert cli("audition", "--frames", "1").code == 0  # nothing is left to describe
    change(library, "UPDATE tasks SET status = 'todo' WHERE frame_id = 1")
    cli("audition", "--frames", "1").refused("pause it first with `everyframe pause`")
    with writing(engine) as connection:
        runs.set_state(connection, run, RunState.PAUSED)
    assert cli("audition", "--frames", "1").code == 0
    engine.dispose()
