"""The overview on libraries in every state: figures, worker controls, failures, missing requirements, first steps."""

import re
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from types import SimpleNamespace

import psutil
import pytest

from db.models import ExtractionStatus, RunState
from enrich.control import control
from enrich.control.status import Stall, WorkerHealth, status
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts.inquiry import inquiries
from pages.parts.overview.controls import WorkerControl
from pages.parts.overview.figures import ENRICHMENT, time_left
from pages.parts.overview.requests import (
    KIND,
    RequestJob,
    WorkerRequest,
    failed_request,
    request_in_flight,
    send_request,
)
from pages.parts.overview.state import available_requests, state_text, worker_controls
from pages.parts.overview.status import percent_done, refresh_overview
from pages.parts.readiness import pull_progress, requirement_in
from tests.cli.terminal import ask, change
from tests.dashboard.conftest import answered, begin_run, metrics, said
from tests.standin import StandIn, Trick
from tests.waiting import wait_until

CONTROLS = {"Start", "Pause", "Resume", "Stop"}


def buttons(app) -> set[str]:
    return {button.label for button in app.button}


def enabled(app) -> set[str]:
    return {button.label for button in app.button if not button.disabled}


def badge(app) -> str:
    """The worker's state as the status line names it."""
    return re.match(r":\w+-badge\[(.*)\]", app.markdown[0].value)[1]


def rerun_until(launch, condition):
    """A fresh tab as soon as something holds in it."""
    apps = []
    wait_until(lambda: apps.append(launch()) or condition(apps[-1]), f"{condition} holds")
    return apps[-1]


def changed(home, sql: str, *values: object) -> None:
    """Change the library from outside, and drop the cached state."""
    change(home, sql, *values)
    refresh_overview()


def press(app, label: str):
    [button] = [button for button in app.button if button.label == label]
    return button.click().run()


@pytest.fixture
def answering(home, monkeypatch):
    """An Ollama that responds at the configured address."""
    with StandIn(parallel=2) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def ended(home):
    """Stops the worker that the test has started."""
    yield
    wait_until(lambda: not any(job.is_running for job in jobs.jobs(load_settings(), KIND)), "requests have ended")
    control.stop(load_settings(), grace_seconds=5)


def test_empty_library_shows_first_steps(launch, empty):
    app = launch()
    assert "The library is empty. Three steps" in said(app)
    assert [step.value for step in app.subheader] == ["1. Choose a vision model", "2. Add videos", "3. Start"]
    assert not app.metric
    assert not buttons(app)


def test_working_library_shows_figures_and_controls(launch, working):
    app = launch()
    assert not app.exception
    figures = metrics(app)
    assert figures["Videos"] == "2"
    assert figures["Covered so far"] == "44 %"
    assert "Free disk space" in figures
    assert buttons(app) == {"Pause", "Stop", "Retry"}
    for sentence in (
        ENRICHMENT,
        "Videos enriched: **1/2**",
        "Frames analyzed: **4/5**",
        "Current: later\\.mp4 (0 % complete)",
        "Extracting frames from later.",
        "llava:13b",
    ):
        assert sentence in said(app), said(app)


def test_enrichment_card_title_appears_once(launch, finished):
    app = launch()
    assert [text.value for text in app.markdown if "Enrichment Progress" in text.value] == [
        "**🧠 Enrichment Progress**"
    ]


def test_finished_library_can_be_started_again(launch, finished):
    app = launch()
    assert "All frames are described." in said(app)
    assert "Videos enriched: **2/2**" in said(app)
    assert "Frames analyzed: **20/20**" in said(app)
    assert "Current: nothing" in said(app)
    assert buttons(app) == {"Start"}


def test_failures_are_grouped_by_reason_and_retried(launch, failed):
    app = launch()
    assert "Failed" in [heading.value for heading in app.subheader]
    reasons = ask(failed, "SELECT error, count(*) FROM tasks WHERE status = 'failed' GROUP BY error ORDER BY 2 DESC")
    assert [count for _, count in reasons] == [2, 1]
    for _, count in reasons:
        assert f"{count} × " in said(app)
    retries = [button for button in app.button if button.label == "Retry"]
    assert len(retries) == 2
    retries[0].click()
    app.run()
    assert ask(failed, "SELECT count(*) FROM tasks WHERE status = 'failed'") == [(1,)]
    assert not app.exception
    changed(failed, "UPDATE tasks SET status = 'failed', error = 'another' WHERE id = (SELECT max(id) FROM tasks)")
    press(launch(), "Retry all failed")
    assert ask(failed, "SELECT count(*) FROM tasks WHERE status = 'failed'") == [(0,)]


def test_waiting_video_shows_its_reason(launch, failed):
    app = launch()
    assert "Waiting videos" in said(app)
    assert "does not exist" in said(app)


def test_file_names_and_errors_are_shown_as_text(launch, working):
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


def test_crashed_worker_can_be_started(launch, working):
    changed(working, "UPDATE runs SET pid = 1, process_created_at = 1 WHERE state = 'running'")
    app = launch()
    assert "The worker process has ended. Press Start to continue." in said(app)
    assert "Start" in buttons(app)


@pytest.mark.parametrize(
    ("state", "requested", "expected", "sentence"),
    [
        ("paused", None, {"Resume", "Stop"}, "The model is unloaded"),
        ("running", "pause", {"Resume", "Stop"}, "Finishing current frames, then pausing."),
        ("paused", "resume", {"Pause", "Stop"}, "The worker is resuming."),
        ("waiting", None, {"Pause", "Stop"}, "Ollama does not answer"),
        ("starting", None, {"Pause", "Stop"}, "The worker is starting."),
        ("stopping", None, set(), "Finishing current frames, then stopping."),
        ("running", "stop", set(), "Finishing current frames, then stopping."),
    ],
)
def test_controls_follow_state_changed_elsewhere(launch, working, state, requested, expected, sentence):
    app = launch()
    assert {"Pause", "Stop"} <= buttons(app)
    values = (state, requested, "Ollama does not answer" if state == "waiting" else None)
    changed(working, "UPDATE runs SET state = ?, requested = ?, reason = ? WHERE state = 'running'", *values)
    app = launch()
    assert enabled(app) - {"Retry"} == expected
    assert "Stop" in buttons(app)
    assert sentence in said(app)


def test_failed_pause_shows_its_error_in_every_tab_until_dismissed(launch, working):
    app = launch()
    changed(working, "UPDATE runs SET state = 'stopped' WHERE state = 'running'")
    press(app, "Pause")
    assert not app.exception
    app = rerun_until(launch, lambda app: "Pause failed" in said(app))
    assert "o worker is running" in said(app)
    assert "Start" in enabled(app)
    assert "Pause failed" not in said(press(app, "Dismiss"))


def test_worker_is_started_paused_resumed_and_stopped(launch, home, filled, answering, ended):
    shutil.copytree(filled, home)
    answering.behave(delay=0.5)
    app = press(launch(), "Start")
    assert not app.exception
    assert badge(app) == "Starting…"
    assert "Start" in buttons(app)
    assert not enabled(app) & CONTROLS
    app = rerun_until(launch, lambda app: {"Pause", "Stop"} <= enabled(app))
    app = press(app, "Pause")
    assert badge(app) == "Pausing…"
    app = rerun_until(launch, lambda app: badge(app) == "Paused")
    assert {"Resume", "Stop"} <= enabled(app)
    app = press(app, "Resume")
    assert badge(app) == "Resuming…"
    app = rerun_until(launch, lambda app: {"Pause", "Stop"} <= enabled(app))
    wait_until(
        lambda: ask(home, "SELECT count(*) FROM frames WHERE local_description IS NOT NULL")[0][0] > 4, "it works"
    )
    app = press(app, "Stop")
    assert badge(app) == "Stopping…"
    assert {"Pause", "Stop"} <= buttons(app)
    assert not enabled(app) & CONTROLS
    rerun_until(launch, lambda app: "Start" in enabled(app))
    assert ask(home, "SELECT state FROM runs ORDER BY id DESC LIMIT 1") == [("stopped",)]


def test_failed_start_shows_its_reason(launch, finished, monkeypatch):
    settings = load_settings()
    with monkeypatch.context() as patch:
        patch.setenv("EVERYFRAME_CONCURRENCY", "many")
        send_request(settings, WorkerRequest.START)
    app = rerun_until(launch, lambda app: "Start failed" in said(app))
    assert not app.exception
    assert "EVERYFRAME\\_CONCURRENCY" in said(app)
    assert "Start" in enabled(app)


def test_start_until_another_time_names_the_running_worker(launch, working):
    send_request(load_settings(), WorkerRequest.START, stop_at=time_of_day(7, 0))
    app = rerun_until(launch, lambda app: "Start failed" in said(app))
    assert "already" in said(app)
    assert {"Pause", "Stop"} <= enabled(app)


def test_request_returns_at_once_and_a_double_click_sends_it_once(launch, working):
    """The worker of this library is a process that sleeps: it never obeys."""
    settings = load_settings()
    began = time.perf_counter()
    send_request(settings, WorkerRequest.STOP)
    send_request(settings, WorkerRequest.STOP)
    assert time.perf_counter() - began < 1
    [job] = jobs.jobs(settings, KIND)
    assert job.is_running
    app = launch()
    assert badge(app) == "Stopping…"
    assert {"Pause", "Stop"} <= buttons(app)
    assert not enabled(app) & CONTROLS
    jobs.stop_job(settings, job.id)


def test_request_from_two_tabs_at_once_is_sent_once(working, monkeypatch):
    settings, python_command = load_settings(), jobs.python_command
    both = threading.Barrier(2)

    def meet(*words):
        with suppress(threading.BrokenBarrierError):  # only one of them starts a process
            both.wait(1)
        return python_command(*words)

    monkeypatch.setattr(jobs, "python_command", meet)
    tabs = [threading.Thread(target=send_request, args=[settings, WorkerRequest.STOP]) for _ in range(2)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    [job] = jobs.jobs(settings, KIND)
    jobs.stop_job(settings, job.id)


def test_failed_stop_is_shown_until_the_worker_has_stopped(working):
    found = status(load_settings())
    began = found.run.started_at + timedelta(seconds=1)
    job = RequestJob("1", WorkerRequest.STOP, began, is_running=False, error="it does not react")
    stopped = _with(found, health=WorkerHealth.NONE, state=RunState.STOPPED)
    assert failed_request(found, job) is job
    assert failed_request(replace(stopped, is_supervised=True), job) is not None
    assert failed_request(stopped, job) is None
    assert failed_request(stopped, replace(job, request=WorkerRequest.PAUSE)) is not None


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_hanging_worker_is_killed_after_stop(launch, working):
    press(launch(), "Stop")
    time.sleep(control.STOP_SECONDS)
    app = rerun_until(launch, lambda app: "Start" in enabled(app))
    assert badge(app) == "Stopped"
    assert "killed" in said(app)


@pytest.mark.parametrize("request_", list(WorkerRequest))
def test_request_is_in_flight_until_the_state_shows_it(working, request_):
    """Derived from the job and the state alone, so every tab and a restarted dashboard agree."""
    found = status(load_settings())
    began = found.run.started_at + timedelta(seconds=1)
    job = RequestJob("1", request_, began, is_running=True, error="")
    stopped = _with(found, health=WorkerHealth.NONE, state=RunState.STOPPED)
    paused = _with(found, state=RunState.PAUSED)
    before, after = {
        WorkerRequest.START: (stopped, found),
        WorkerRequest.STOP: (found, stopped),
        WorkerRequest.PAUSE: (found, paused),
        WorkerRequest.RESUME: (paused, found),
    }[request_]
    assert request_in_flight(before, job) is request_
    assert request_in_flight(after, job) is None
    assert request_in_flight(before, None) is None
    assert not any(one.is_enabled for one in worker_controls(before, request_))


def test_stop_at_shows_a_forecast_and_starts_until_then(launch, home, filled, answering, ended):
    shutil.copytree(filled, home)
    app = launch()
    app.time_input[0].set_value(time_of_day(7, 0)).run()
    answered("plan", "--by", "07:00")
    app.run()
    assert "by " in said(app)
    assert "calculated at" in said(app)
    app = press(app, next(label for label in buttons(app) if label.startswith("Start until ")))
    assert not app.exception
    wait_until(lambda: "Stops at" in said(launch()), "it has started, and shows when it stops")
    [run] = ask(home, "SELECT json_extract(options, '$.until') FROM runs ORDER BY id DESC LIMIT 1")
    assert datetime.fromisoformat(run[0]).astimezone().strftime("%H:%M") == "07:00"


def test_forecast_is_hidden_while_it_is_calculated_again(launch, finished, monkeypatch):
    question, settings = ("plan", "--by", "07:00"), load_settings()
    may_end, asked = threading.Event(), []

    def run_command(_settings, *words, seconds):
        asked.append(words)
        may_end.wait(60)
        return CommandResult(1, None, "no forecast")

    app = launch()
    app.time_input[0].set_value(time_of_day(7, 0)).run()
    answered(*question)
    assert "calculated at" in said(app.run())
    monkeypatch.setattr("pages.parts.inquiry.run_command", run_command)
    inquiries().forget()  # as after a change of the settings
    assert "Calculating how much" in said(app.run())
    assert "calculated at" not in said(app)
    may_end.set()
    answered(*question)
    assert "No forecast" in said(app.run())
    monkeypatch.setattr("pages.parts.overview.stop_at.BAD_SECONDS", 0.0)
    app.run()
    wait_until(lambda: asked.count(question) >= 2, "a failed forecast is calculated again")
    wait_until(lambda: not inquiries().is_asking(settings, *question), "it has its result")


def test_unreachable_ollama_is_reported(launch, finished):
    launch()
    answered("models")
    app = launch()
    assert "is not responding" in said(app)


def test_missing_model_is_downloaded_with_a_button(launch, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "bakllava:7b")
    answering.behave(pullable=("bakllava:7b",))
    launch()
    answered("models")
    app = launch()
    assert "bakllava:7b is not installed" in said(app).replace("\\", "")
    app = press(app, next(label for label in buttons(app) if label.startswith("Download ")))
    assert not app.exception
    [job] = jobs.jobs(load_settings(), "pull")
    assert job.words == ("models", "pull", "bakllava:7b")
    wait_until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    assert jobs.jobs(load_settings(), "pull")[0].exit_code == 0


def test_running_download_is_shown_in_every_tab_and_cancelled(launch, launch_answered, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "bakllava:7b")
    answering.behave(pullable=("bakllava:7b",))
    launch()
    answered("models")
    app = launch()
    answering.play(Trick.HANG, everywhere=True)
    press(app, next(label for label in buttons(app) if label.startswith("Download ")))
    app = launch()
    assert not app.exception
    assert buttons(app) == {"Cancel"}
    assert [bar.text for bar in app.get("progress")] == ["Starting download"]
    press(app, "Cancel")
    wait_until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the download has ended")
    answering.calm()
    app = launch()
    assert buttons(app) == {r"Download bakllava\:7b"}
    assert "failed" not in said(app)
    assert "failed" not in said(launch_answered("models", "models"))


def test_download_progress_is_that_of_all_layers():
    def progress(*lines):
        return pull_progress(jobs.Job("", "pull", ("pull", "a"), datetime.now(UTC), True, list(lines), None, ""))

    first, second = ({"host": "a", "status": name, "completed": 0, "total": 1_000_000} for name in ("one", "two"))
    assert progress() == (0.0, "Starting download")
    assert progress({"host": "a", "status": "pulling manifest", "total": None}) == (0.0, "pulling manifest")
    assert progress(first, first | {"completed": 1_000_000}) == (1.0, "1.0 MB of 1.0 MB")
    assert progress(first | {"completed": 1_000_000}, second) == (0.5, "1.0 MB of 2.0 MB")


@pytest.mark.parametrize(("code", "has_failed"), [(0, False), (None, False), (-15, False), (1, True), (-11, True)])
def test_stopped_job_has_not_failed(code, has_failed):
    job = jobs.Job("", "pull", ("pull", "a"), datetime.now(UTC), False, [], code, "")
    assert job.has_failed == has_failed


def test_failed_download_shows_its_error(launch, empty, answering, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "nosuch:1b")
    launch()
    answered("models")
    app = press(launch(), "Download nosuch\\:1b")
    wait_until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    app = launch()
    assert "Download failed" in said(app)


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
            "is not a vision model",
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
def test_missing_requirement_is_read_from_models_output(home, monkeypatch, outcome, words, model):
    monkeypatch.setenv("OLLAMA_HOST", "http://a:1")
    missing = requirement_in(outcome, load_settings())
    assert (missing is None) == (words is None)
    if missing is not None:
        assert words in missing.sentence
        assert missing.model == model


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [("moondream", "moondream:latest"), ("Llava:13B", "llava:13b"), ("box:5000/me/llava", "box:5000/me/llava:latest")],
)
def test_installed_model_is_found_by_any_of_its_names(home, monkeypatch, wanted, listed):
    monkeypatch.setenv("OLLAMA_HOST", "http://a:1")
    monkeypatch.setenv("EVERYFRAME_MODEL", wanted)
    row = {"host": "http://a:1", "name": listed, "sees": True, "is_cloud": False}
    assert requirement_in(CommandResult(0, [row], ""), load_settings()) is None


def test_percent_done_is_100_only_when_all_is_described():
    def video(**values):
        return SimpleNamespace(frame_count=100, **values)

    extracted, extracting = ExtractionStatus.EXTRACTED, ExtractionStatus.EXTRACTING
    assert percent_done(video(kept=200, described=199, extraction_status=extracted), 0) == 99
    assert percent_done(video(kept=200, described=200, extraction_status=extracted), 0) == 100
    assert percent_done(video(kept=10, described=10, extraction_status=extracting), 50) == 50
    assert percent_done(video(kept=0, described=0, extraction_status=extracting), 50) == 0


def test_time_left_needs_an_extracted_video():
    found = SimpleNamespace(videos=3, videos_decoded=0, left=5, seconds_left=4.0)
    assert time_left(found) == "3 videos to extract"
    found.videos_decoded = 2
    assert time_left(found).startswith("4 s left, done by ")
    found.videos_decoded, found.left = 3, 0
    assert time_left(found) == "nothing left"


def test_every_state_has_text_and_controls(working):
    found = status(load_settings())
    for health in WorkerHealth:
        for state in RunState:
            changed = _with(found, health=health, state=state)
            if health is WorkerHealth.STALLED:
                changed = _with(changed, stalls=[Stall("no frame finished", datetime.now(UTC))])
                assert re.fullmatch(
                    r"No frame finished since [\d:]{8}\. Press Stop, then Start\.", state_text(changed).sentence
                )
            assert state_text(changed).sentence
            assert len(set(available_requests(changed))) == len(available_requests(changed))
            assert worker_controls(changed, None)
    assert available_requests(_with(found, health=WorkerHealth.SILENT)) == (WorkerRequest.STOP,)


@pytest.mark.parametrize("health", [WorkerHealth.SILENT, WorkerHealth.STALLED])
@pytest.mark.parametrize(("state", "requested"), [(RunState.STOPPING, None), (RunState.RUNNING, "stop")])
def test_worker_that_hangs_while_stopping_can_be_stopped(working, health, state, requested):
    found = status(load_settings())
    stalls = [Stall("finishing any frame", datetime.now(UTC))]
    run = replace(found.run, state=state, requested=requested)
    hung = replace(found, health=health, run=run, stalls=stalls)
    assert "Press Stop, then Start." in state_text(hung).sentence
    assert worker_controls(hung, None) == (WorkerControl(WorkerRequest.STOP, is_enabled=True),)
    assert worker_controls(hung, WorkerRequest.STOP) == (WorkerControl(WorkerRequest.STOP, is_enabled=False),)


def _with(found, *, state=None, **changes):
    run = found.run if state is None else replace(found.run, state=state)
    return replace(found, run=run, **changes)


def test_chart_shows_the_last_run_only(launch, finished):
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        app = launch()
        process.kill()
    assert not app.exception
    assert "Frames per minute" in [heading.value for heading in app.subheader]
