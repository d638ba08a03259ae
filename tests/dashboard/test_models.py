"""The Models page: installed models, choosing, downloading, removing and comparing, against the stand-in."""

import os
import signal
import sys
import threading
from datetime import UTC, datetime

import psutil
import pytest

from enrich.errors import ControlError
from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts import inquiry
from pages.parts.inquiry import Inquiries, inquiries
from pages.parts.models.audition import audition_progress
from pages.parts.models.installed import memory, models_in, number, speed
from tests.dashboard.conftest import STATES, answered, said
from tests.standin import ShelfModel, StandIn, Trick
from tests.waiting import wait_until

ROW = {
    "host": "http://box:11434",
    "name": "llava:13b",
    "size_bytes": 8_000_000_000,
    "parameter_size": "13B",
    "sees": True,
    "is_cloud": False,
    "loaded": True,
    "fits_gpu": True,
    "seconds_per_frame": 2.345,
}
INSTALLED = (ShelfModel("llava:13b"), ShelfModel("llava:7b", gpu_bytes=1), ShelfModel("mistral:7b", sees=False))


def button(app, label: str, key: str = ""):
    [found] = [one for one in app.button if one.label == label and key in (one.key or "")]
    return found


@pytest.fixture
def ollama(home, monkeypatch):
    """An Ollama with the model in use, another vision model, and a text-only model."""
    with StandIn(parallel=2, models=INSTALLED, pullable=("moondream:latest",)) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def opened(launch_answered):
    """The Models page, once Ollama has responded."""
    return lambda: launch_answered("models", "models")


@pytest.mark.parametrize("state", STATES)
def test_without_ollama_the_page_links_to_it(opened, request, state):
    request.getfixturevalue(state)
    app = opened()
    assert not app.exception
    assert "is not responding" in said(app)
    assert "https://ollama.com/download" in said(app)


def test_installed_models_show_size_and_speed(opened, finished, ollama):
    app = opened()
    text = said(app)
    assert r"**llava\:13b** · selected" in text
    assert "8\\.0 GB\\, 13B parameters" in text
    assert "s per frame" in text
    assert "not timed yet" in text
    assert r"text-only: mistral\:7b" in text
    assert button(app, "Selected", "choose-llava:13b").disabled


def test_chosen_model_is_saved_in_the_settings_file(opened, finished, ollama):
    app = button(opened(), "Use this model", "choose-llava:7b").click().run()
    assert r"llava\:7b is used from the next start of the worker" in said(app)
    assert load_settings().model == "llava:7b"
    assert button(app, "Selected", "choose-llava:7b").disabled


def test_model_set_by_environment_cannot_be_chosen(opened, finished, ollama, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "llava:13b")
    app = opened()
    assert r"by the environment variable EVERYFRAME\_MODEL" in said(app)
    assert button(app, "Use this model", "choose-llava:7b").disabled


def test_model_is_removed_after_confirmation(opened, finished, ollama):
    app = button(opened(), "Remove", "remove-llava:7b").click().run()
    assert r"**llava\:7b** will be deleted" in said(app)
    kept = button(app, "Cancel").click().run()
    assert len(ollama.conduct.models) == len(INSTALLED)
    assert "will be deleted from" not in said(kept.run())
    app = button(kept, "Remove", "remove-llava:7b").click().run()
    app = button(app, "Remove model").click().run()
    assert not app.exception
    assert "llava:7b" not in [model.name for model in ollama.conduct.models]
    assert r"Removed: llava\:7b" in said(app)


def test_failed_removal_is_reported_in_the_dialog(opened, finished, ollama):
    app = button(opened(), "Remove", "remove-llava:7b").click().run()
    ollama.stop()
    app = button(app, "Remove model").click().run()
    assert "The model was not removed" in said(app)
    ollama.start()


def test_missing_vision_model_shows_suggestions(opened, finished, ollama):
    ollama.behave(models=(ShelfModel("mistral:7b", sees=False),))
    app = opened()
    assert "No vision model is installed yet" in said(app)
    assert r"moondream · 1.7 GB" in [one.label for one in app.button]


def test_downloaded_model_appears(opened, finished, ollama):
    app = opened()
    [name] = [one for one in app.text_input if one.label == "Other model (Ollama name)"]
    name.set_value("moondream")
    app = button(app, "Download").click().run()
    [job] = jobs.jobs(load_settings(), "pull")
    assert job.words == ("models", "pull", "moondream")
    wait_until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the download has ended")
    inquiries().forget()
    app.run()
    settings = load_settings()
    wait_until(lambda: not inquiries().is_asking(settings, "models"), "Ollama has responded")
    assert r"**moondream\:latest**" in said(app.run())


def test_failed_download_shows_its_error(opened, finished, ollama):
    app = opened()
    [name] = [one for one in app.text_input if one.label == "Other model (Ollama name)"]
    name.set_value("nosuch:1b")
    app = button(app, "Download").click().run()
    wait_until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the download has ended")
    assert r"Download of nosuch\:1b failed" in said(app.run())


def test_models_are_compared_and_one_is_chosen(opened, finished, ollama):
    app = button(opened(), "Compare").click().run()
    settings = load_settings()
    wait_until(lambda: not jobs.jobs(settings, "audition")[0].is_running, "the comparison has ended")
    app = app.run()
    assert not app.exception
    text = said(app)
    assert "s per frame" in text
    assert "for this library (20 frames)" in text
    assert text.count("Frame number ") == 24
    app = button(app, "Use this model", "audition-choose-llava:7b").click().run()
    assert load_settings().model == "llava:7b"
    assert not app.exception


def test_failed_comparison_is_reported(opened, finished, ollama):
    ollama.play(Trick.ERROR)
    app = button(opened(), "Compare").click().run()
    settings = load_settings()
    wait_until(lambda: not jobs.jobs(settings, "audition")[0].is_running, "the comparison has ended")
    app = app.run()
    assert not app.exception
    assert "Not timed" in said(app)


def test_comparison_needs_frames(opened, empty, ollama):
    assert "There are no frames yet" in said(opened())


def test_running_comparison_can_be_stopped(opened, finished, ollama):
    ollama.behave(delay=5)
    app = button(opened(), "Compare").click().run()
    assert button(app, "Compare").disabled
    app = button(app, "Stop comparing").click().run()
    assert not app.exception
    wait_until(lambda: not jobs.jobs(load_settings(), "audition")[0].is_running, "the comparison has ended")


def test_stop_returns_while_a_hung_comparison_still_runs(opened, finished, ollama, monkeypatch):
    program = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('{\"pid\": %d}' % os.getpid(), flush=True)\ntime.sleep(600)"
    )
    monkeypatch.setattr(jobs, "command_line", lambda _: [sys.executable, "-c", program])
    monkeypatch.setattr(jobs, "TERMINATE_SECONDS", 600.0)
    settings = load_settings()
    app = button(opened(), "Compare").click().run()
    wait_until(lambda: jobs.jobs(settings, "audition")[0].lines, "it ignores SIGTERM")
    app = button(app, "Stop comparing").click().run()
    assert not app.exception
    [job] = jobs.jobs(settings, "audition")
    assert job.is_running
    os.kill(job.lines[0]["pid"], signal.SIGKILL)
    wait_until(lambda: not jobs.jobs(settings, "audition")[0].is_running, "the comparison has ended")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("models", ("audition", "--model", "llava:7b")),
        ("models", ("pull", "moondream")),
        ("overview", ("pull", "llava:34b")),
        ("library", ("add", "/videos")),
        ("costs", ("quick", "1")),
    ],
)
def test_failed_stop_is_shown_in_every_tab(launch, finished, ollama, monkeypatch, page, words):
    def stop_job(*_):
        raise ControlError("it does not react to being killed")

    monkeypatch.setenv("EVERYFRAME_MODEL", "llava:34b")
    monkeypatch.setattr(jobs, "stop_job", stop_job)
    launch("models")
    answered("models")
    job_id = "20261125T192332610446-90e157"
    folder = finished / "jobs" / job_id
    folder.mkdir(parents=True)
    with psutil.Popen(["sleep", "600"]) as process:
        jobs._write_description(folder, words[0], words, datetime.now(UTC), process.pid)
        jobs.stop_job_in_background(load_settings(), job_id)
        wait_until(lambda: jobs.jobs(load_settings())[0].stop_error, "the stop has failed")
        app = launch(page)
        process.kill()
    assert not app.exception
    assert "failed: it does not react to being killed" in said(app).replace("\\", "")


def test_model_names_are_shown_as_text(opened, finished, ollama):
    ollama.behave(models=(ShelfModel("<img src=x onerror=alert(1)>:[x](http:"), *INSTALLED))
    app = opened()
    assert not app.exception
    [text] = [element.value for element in app.markdown if "<img" in element.value]
    assert text == r"**\<img src\=x onerror\=alert\(1\)\>\:\[x\]\(http\:**"


def test_same_model_on_two_servers_is_one_row():
    other = ROW | {"host": "http://other:11434", "fits_gpu": False}
    [model] = models_in([ROW, other])
    assert model.hosts == ("http://box:11434", "http://other:11434")
    assert memory(model) == "loaded, larger than GPU memory (slow)"
    assert speed(model) == "2.3 s per frame"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loaded": False, "fits_gpu": None}, "not loaded"),
        ({}, "fits in GPU memory"),
        ({"fits_gpu": None}, "runs on the CPU"),
    ],
)
def test_memory_text_names_gpu_or_cpu(changes, words):
    [model] = models_in([ROW | changes])
    assert words in memory(model)


def test_seconds_have_about_two_digits():
    assert [number(value) for value in (123.4, 12.3, 2.34, 0.0123)] == ["123", "12", "2.3", "0.01"]


def test_result_from_before_a_change_is_refreshed(home, monkeypatch):
    has_started, may_end = threading.Event(), threading.Event()

    def run_command(settings, *words, seconds):
        has_started.set()
        may_end.wait(10)
        return CommandResult(0, [], "")

    monkeypatch.setattr(inquiry, "run_command", run_command)
    cache, settings = Inquiries(), load_settings()
    result = cache.ask(settings, "models", fresh_seconds=60)
    assert result.outcome is None
    assert result.is_asking
    assert has_started.wait(10)
    cache.forget()
    may_end.set()
    wait_until(lambda: not cache.is_asking(settings, "models"), "it has a result")
    result = cache.ask(settings, "models", fresh_seconds=60)
    assert result.outcome == CommandResult(0, [], "")
    assert result.is_asking


def test_command_that_cannot_run_is_not_asked_for_ever(home, monkeypatch):
    def run_command(settings, *words, seconds):
        raise IndexError("unforeseen")

    monkeypatch.setattr(inquiry, "run_command", run_command)
    cache, settings = Inquiries(), load_settings()
    cache.ask(settings, "models", fresh_seconds=60)
    wait_until(lambda: not cache.is_asking(settings, "models"), "the command has ended")
    result = cache.ask(settings, "models", fresh_seconds=60)
    assert result.outcome is not None
    assert "IndexError: unforeseen" in result.outcome.error


def test_comparison_is_read_from_its_lines(home):
    words = ("audition", "--frames", "12", "--model", "a", "--model", "b")
    take = {"model": "a", "frame_id": 7, "timestamp": 1.0}
    verdict = {"model": "a", "seconds_per_frame": 1.0}
    job = jobs.Job("", "audition", words, None, True, [take, verdict, {"odd": 1}], None, "")  # type: ignore[arg-type]
    found = audition_progress(job)
    assert found.models == ("a", "b")
    assert found.takes == {7: {"a": take}}
    assert found.verdicts == {"a": verdict}
