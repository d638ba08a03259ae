"""The overview on every library: figures, the buttons that fit, failures, what is missing, and how to begin."""

from datetime import UTC, datetime, time
from types import SimpleNamespace

import psutil
import pytest

from db.models import ExtractionStatus, RunState
from enrich.control import control
from enrich.control.status import WorkerHealth
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts.overview.figures import ENRICHMENT, time_left
from pages.parts.overview.state import WorkerRequest, fitting, words
from pages.parts.overview.status import percent_done, refresh_overview
from pages.parts.readiness import requirement_in
from tests.cli.terminal import ask, change, until
from tests.dashboard.conftest import answered, begin_run, metrics, said
from tests.standin import StandIn, Trick


def buttons(app) -> set[str]:
    return {button.label for button in app.button}


def changed(home, sql: str, *values: object) -> None:
    """A change from elsewhere, half a second ago: what was seen before is not what is seen next."""
    change(home, sql, *values)
    refresh_overview()


def press(app, label: str):
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


@pytest.fixture
def answering(home, monkeypatch):
    """An Ollama that answers where it is looked for."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def ended(home):
    """Whatever worker the test has started ends with it."""
    yield
    control.stop(load_settings(), grace_seconds=5)


def test_an_empty_library_says_how_to_begin(launch, empty):
    app = launch()
    assert "The library is empty. Three steps" in said(app)
    assert [step.value for step in app.subheader] == ["1. A model that sees", "2. Your films", "3. Start"]
    assert not app.metric
    assert not buttons(app)


def test_a_library_at_work_shows_its_figures_and_what_may_be_asked(launch, working):
    app = launch()
    assert not app.exception
    figures = metrics(app)
    assert figures["Films"] == "2"
    assert figures["Source frames covered"] == "4"
    assert "Disk left" in figures
    assert buttons(app) == {"Pause", "Stop", "Try again"}
    for sentence in (
        ENRICHMENT,
        "Videos enriched: **1/2**",
        "Frames analyzed: **4/5**",
        "Current: later\\.mp4 (0 % complete)",
        "It reads later.",
        "llava:13b",
    ):
        assert sentence in said(app), said(app)


def test_the_users_card_has_its_title_once_and_as_written(launch, finished):
    app = launch()
    assert [text.value for text in app.markdown if "Enrichment Progress" in text.value] == [
        "**🧠 Enrichment Progress**"
    ]


def test_a_finished_library_says_so_and_can_be_started_again(launch, finished):
    app = launch()
    assert "Nothing is left to describe." in said(app)
    assert "Videos enriched: **2/2**" in said(app)
    assert "Frames analyzed: **20/20**" in said(app)
    assert "Current: nothing" in said(app)
    assert buttons(app) == {"Start"}


def test_failures_are_grouped_by_reason_and_tried_again_together_or_one_by_one(launch, failed):
    app = launch()
    assert "What failed" in said(app)
    reasons = ask(failed, "SELECT error, count(*) FROM tasks WHERE status = 'failed' GROUP BY error ORDER BY 2 DESC")
    assert [count for _, count in reasons] == [2, 1]
    for _, count in reasons:
        assert f"{count} × " in said(app)
    retries = [button for button in app.button if button.label == "Try again"]
    assert len(retries) == 2
    retries[0].click()
    app.run()
    assert ask(failed, "SELECT count(*) FROM tasks WHERE status = 'failed'") == [(1,)]
    assert not app.exception
    changed(failed, "UPDATE tasks SET status = 'failed', error = 'another' WHERE id = (SELECT max(id) FROM tasks)")
    press(launch(), "Try all again")
    assert ask(failed, "SELECT count(*) FROM tasks WHERE status = 'failed'") == [(0,)]


def test_a_film_that_waits_says_for_what(launch, failed):
    app = launch()
    assert "Films that wait" in said(app)
    assert "is not there" in said(app)


def test_what_files_are_called_and_errors_say_is_text(launch, working):
    changed(working, "UPDATE videos SET title = ? WHERE id = 2", ":red[x] <img src=x> ![y](http://evil/y.png)")
    changed(working, "UPDATE tasks SET error = ? WHERE status = 'failed'", "[click](http://evil) $\\LaTeX$\x1b[31m")
    app = launch()
    assert not app.exception
    for kind in (app.markdown, app.caption):
        for element in kind:
            assert "![y](" not in element.value
            assert "[click](" not in element.value
            assert ":red[" not in element.value
    assert "[click](http://evil)" in "\n".join(text.value for text in app.text)
    assert "\x1b" not in said(app)


def test_a_worker_whose_process_is_gone_has_crashed_and_can_be_started(launch, working):
    changed(working, "UPDATE runs SET pid = 1, process_created_at = 1 WHERE state = 'running'")
    app = launch()
    assert "Its process is gone. Start goes on where it was." in said(app)
    assert "Start" in buttons(app)


@pytest.mark.parametrize(
    ("state", "requested", "expected", "sentence"),
    [
        ("paused", None, {"Resume", "Stop"}, "The model's memory is free"),
        ("running", "pause", {"Resume", "Stop"}, "The frames in hand are still finished."),
        ("paused", "resume", {"Pause", "Stop"}, "It goes on in a moment."),
        ("waiting", None, {"Pause", "Stop"}, "Ollama does not answer"),
        ("starting", None, {"Pause", "Stop"}, "It begins in a moment."),
        ("stopping", None, set(), "get some seconds"),
        ("running", "stop", set(), "get some seconds"),
    ],
)
def test_the_buttons_fit_the_state_whoever_changed_it(launch, working, state, requested, expected, sentence):
    app = launch()
    assert {"Pause", "Stop"} <= buttons(app)
    values = (state, requested, "Ollama does not answer" if state == "waiting" else None)
    changed(working, "UPDATE runs SET state = ?, requested = ?, reason = ? WHERE state = 'running'", *values)
    app = launch()
    assert buttons(app) - {"Try again"} == expected
    assert sentence in said(app)


def test_a_button_does_what_it_says_and_a_worker_that_is_gone_is_said(launch, working):
    app = launch()
    changed(working, "UPDATE runs SET state = 'stopped' WHERE state = 'running'")
    press(app, "Pause")
    assert not app.exception
    assert "No worker is running" in said(app)
    assert "Start" in buttons(app)


def test_a_worker_is_started_paused_resumed_and_stopped(launch, home, filled, answering, ended):
    import shutil

    shutil.copytree(filled, home)
    answering.behave(delay=0.5)
    app = press(launch(), "Start")
    assert not app.exception
    assert {"Pause", "Stop"} <= buttons(app)
    app = press(app, "Pause")
    until(lambda: ask(home, "SELECT state FROM runs ORDER BY id DESC LIMIT 1") == [("paused",)], "it is paused")
    app = launch()
    assert {"Resume", "Stop"} <= buttons(app)
    app = press(app, "Resume")
    assert {"Pause", "Stop"} <= buttons(app)
    until(lambda: ask(home, "SELECT count(*) FROM frames WHERE local_description IS NOT NULL")[0][0] > 4, "it works")
    app = press(app, "Stop")
    assert "Start" in buttons(app)
    assert ask(home, "SELECT state FROM runs ORDER BY id DESC LIMIT 1") == [("stopped",)]


def test_be_ready_by_says_what_will_be_reached_and_starts_with_that_end(launch, home, filled, answering, ended):
    import shutil

    shutil.copytree(filled, home)
    app = launch()
    app.time_input[0].set_value(time(7, 0)).run()
    assert "by " in said(app)
    assert "worked out at" in said(app)
    app = press(app, next(label for label in buttons(app) if label.startswith("Start until ")))
    assert not app.exception
    [run] = ask(home, "SELECT json_extract(options, '$.until') FROM runs ORDER BY id DESC LIMIT 1")
    assert datetime.fromisoformat(run[0]).astimezone().strftime("%H:%M") == "07:00"
    until(lambda: "It ends by itself at" in said(launch()), "it has started, and says when it ends")


def test_an_ollama_that_does_not_answer_is_said_with_what_to_do(launch, finished):
    launch()
    answered("models")
    app = launch()
    assert "is not responding" in said(app)


def test_a_model_that_is_missing_is_got_with_a_button(launch, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "bakllava:7b")
    answering.behave(pullable=("bakllava:7b",))
    launch()
    answered("models")
    app = launch()
    assert "bakllava:7b is not installed" in said(app).replace("\\", "")
    app = press(app, next(label for label in buttons(app) if label.startswith("Get ")))
    assert not app.exception
    [job] = jobs.jobs(load_settings(), "pull")
    assert job.words == ("models", "pull", "bakllava:7b")
    until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    assert jobs.jobs(load_settings(), "pull")[0].exit_code == 0


def test_a_pull_that_takes_its_time_is_shown_in_every_tab_and_can_be_cancelled(launch, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "bakllava:7b")
    answering.behave(pullable=("bakllava:7b",))
    launch()
    answered("models")
    app = launch()
    answering.play(Trick.HANG, everywhere=True)
    press(app, next(label for label in buttons(app) if label.startswith("Get ")))
    app = launch()
    assert not app.exception
    assert buttons(app) == {"Cancel"}
    assert [bar.text for bar in app.get("progress")] == ["Beginning"]
    press(app, "Cancel")
    assert not jobs.jobs(load_settings(), "pull")[0].is_running
    answering.calm()


def test_a_pull_that_failed_says_why(launch, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "nosuch:1b")
    launch()
    answered("models")
    app = press(launch(), "Get nosuch\\:1b")
    until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    app = launch()
    assert "could not be got" in said(app)


@pytest.mark.parametrize(
    ("outcome", "words", "model"),
    [
        (
            CommandResult(0, [{"host": "http://a:1", "name": "llava:13b", "sees": True, "is_cloud": False}], ""),
            None,
            None,
        ),
        (CommandResult(0, [], ""), "is not installed", "llava:13b"),
        (
            CommandResult(0, [{"host": "http://a:1", "name": "llava:13b", "sees": False, "is_cloud": False}], ""),
            "see",
            None,
        ),
        (
            CommandResult(0, [{"host": "http://a:1", "name": "llava:13b", "sees": True, "is_cloud": True}], ""),
            "cloud",
            None,
        ),
        (CommandResult(1, None, "Ollama does not answer"), "does not answer", None),
    ],
)
def test_what_is_missing_is_told_from_what_the_models_command_says(home, monkeypatch, outcome, words, model):
    monkeypatch.setenv("OLLAMA_HOST", "http://a:1")
    lack = requirement_in(outcome, load_settings())
    assert (lack is None) == (words is None)
    if lack is not None:
        assert words in lack.sentence
        assert lack.model == model


def test_a_film_counts_as_done_only_when_all_of_it_is():
    def video(**values):
        return SimpleNamespace(frame_count=100, **values)

    read, reading_ = ExtractionStatus.EXTRACTED, ExtractionStatus.EXTRACTING
    assert percent_done(video(kept=200, described=199, extraction_status=read), 0) == 99
    assert percent_done(video(kept=200, described=200, extraction_status=read), 0) == 100
    assert percent_done(video(kept=10, described=10, extraction_status=reading_), 50) == 50
    assert percent_done(video(kept=0, described=0, extraction_status=reading_), 50) == 0


def test_no_time_is_told_before_it_can_be_known():
    status = SimpleNamespace(videos=3, videos_decoded=0, left=5, seconds_left=4.0)
    assert time_left(status) == "3 films left to read"
    status.videos_decoded = 2
    assert time_left(status).startswith("4 s left, until ")
    status.videos_decoded, status.left = 3, 0
    assert time_left(status) == "nothing is left"


def test_every_state_has_words_and_fitting_wishes(working):
    from enrich.control.status import Stall, status

    found = status(load_settings())
    for health in WorkerHealth:
        for state in RunState:
            changed = _with(found, health=health, state=state)
            if health is WorkerHealth.STALLED:
                changed = _with(changed, stalls=[Stall("finishing any frame", datetime.now(UTC))])
            assert words(changed).sentence
            assert len(set(fitting(changed))) == len(fitting(changed))
    assert fitting(_with(found, health=WorkerHealth.SILENT)) == (WorkerRequest.STOP,)


def _with(found, *, state=None, **changes):
    from dataclasses import replace

    run = found.run if state is None else replace(found.run, state=state)
    return replace(found, run=run, **changes)


def test_a_second_run_is_charted_by_itself(launch, finished):
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        app = launch()
        process.kill()
    assert not app.exception
    assert "Frames a minute" in [heading.value for heading in app.subheader]
