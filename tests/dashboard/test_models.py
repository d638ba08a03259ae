"""Models on every library: what is installed, choosing, getting, removing and the audition, against the stand-in."""

import threading

import pytest

from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts import inquiry
from pages.parts.inquiry import Inquiries, inquiries
from pages.parts.models.audition import audition_progress
from pages.parts.models.installed import is_same, memory, models_in, number, pace
from tests.cli.terminal import until
from tests.dashboard.conftest import STATES, said
from tests.standin import ShelfModel, StandIn, Trick

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
SHELF = (ShelfModel("llava:13b"), ShelfModel("llava:7b", gpu_bytes=1), ShelfModel("mistral:7b", sees=False))


def button(app, label: str, key: str = ""):
    [found] = [one for one in app.button if one.label == label and key in (one.key or "")]
    return found


@pytest.fixture
def ollama(home, monkeypatch):
    """An Ollama with a model that is chosen, one that is not, and one that is blind."""
    with StandIn(parallel=2, models=SHELF, pullable=("moondream:latest",)) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield server


@pytest.fixture
def opened(launch_answered):
    """The Models page, once Ollama has answered."""
    return lambda: launch_answered("models", "models")


@pytest.mark.parametrize("state", STATES)
def test_without_ollama_every_library_says_how_to_get_it(opened, request, state):
    request.getfixturevalue(state)
    app = opened()
    assert not app.exception
    assert "is not responding" in said(app)
    assert "https://ollama.com/download" in said(app)


def test_what_is_installed_is_shown_with_size_pace_and_what_it_is_for(opened, finished, ollama):
    app = opened()
    text = said(app)
    assert r"**llava\:13b** · describes your frames" in text
    assert "8\\.0 GB\\, 13B parameters" in text
    assert "s a frame here" in text
    assert "not measured here yet" in text
    assert r"blind to pictures: mistral\:7b" in text
    assert button(app, "In use", "choose-llava:13b").disabled


def test_one_click_chooses_a_model_and_the_settings_file_keeps_it(opened, finished, ollama):
    app = button(opened(), "Use this model", "choose-llava:7b").click().run()
    assert r"llava\:7b describes your frames from the next start on" in said(app)
    assert load_settings().model == "llava:7b"
    assert button(app, "In use", "choose-llava:7b").disabled


def test_a_model_that_the_environment_fixes_cannot_be_chosen_here(opened, finished, ollama, monkeypatch):
    monkeypatch.setenv("EVERYFRAME_MODEL", "llava:13b")
    app = opened()
    assert r"by EVERYFRAME\_MODEL in the environment" in said(app)
    assert button(app, "Use this model", "choose-llava:7b").disabled


def test_a_model_is_removed_after_a_question(opened, finished, ollama):
    app = button(opened(), "Remove", "remove-llava:7b").click().run()
    assert r"**llava\:7b** is deleted" in said(app)
    kept = button(app, "Keep it").click().run()
    assert len(ollama.conduct.models) == len(SHELF)
    assert "is deleted from" not in said(kept.run())
    app = button(kept, "Remove", "remove-llava:7b").click().run()
    app = button(app, "Remove it").click().run()
    assert not app.exception
    assert "llava:7b" not in [model.name for model in ollama.conduct.models]
    assert r"Removed: llava\:7b" in said(app)


def test_a_model_that_is_not_removed_is_said_so_in_the_question(opened, finished, ollama):
    app = button(opened(), "Remove", "remove-llava:7b").click().run()
    ollama.stop()
    app = button(app, "Remove it").click().run()
    assert "It was not removed" in said(app)
    ollama.start()


def test_who_has_no_model_gets_suggestions(opened, finished, ollama):
    ollama.behave(models=(ShelfModel("mistral:7b", sees=False),))
    app = opened()
    assert "No model that sees is installed yet" in said(app)
    assert r"moondream · 1.7 GB" in [one.label for one in app.button]


def test_a_model_is_got_by_a_job_and_appears(opened, finished, ollama):
    app = opened()
    [name] = [one for one in app.text_input if one.label == "Another model, by its name in Ollama"]
    name.set_value("moondream")
    app = button(app, "Get it").click().run()
    [job] = jobs.jobs(load_settings(), "pull")
    assert job.words == ("models", "pull", "moondream")
    until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    inquiries().forget()
    app.run()
    settings = load_settings()
    until(lambda: not inquiries().is_asking(settings, "models"), "Ollama is asked again")
    assert r"**moondream\:latest**" in said(app.run())


def test_a_pull_that_fails_says_why(opened, finished, ollama):
    app = opened()
    [name] = [one for one in app.text_input if one.label == "Another model, by its name in Ollama"]
    name.set_value("nosuch:1b")
    app = button(app, "Get it").click().run()
    until(lambda: not jobs.jobs(load_settings(), "pull")[0].is_running, "the pull has ended")
    assert r"nosuch\:1b could not be got" in said(app.run())


def test_an_audition_compares_models_side_by_side_and_chooses(opened, finished, ollama):
    app = button(opened(), "Hold the audition").click().run()
    settings = load_settings()
    until(lambda: not jobs.jobs(settings, "audition")[0].is_running, "the audition has ended")
    app = app.run()
    assert not app.exception
    text = said(app)
    assert "seconds a frame" in text
    assert "for this library, 20 frames" in text
    assert text.count("Frame number ") == 24
    app = button(app, "Use this model", "audition-choose-llava:7b").click().run()
    assert load_settings().model == "llava:7b"
    assert not app.exception


def test_an_audition_with_trouble_says_so_and_shows_what_there_is(opened, finished, ollama):
    ollama.play(Trick.ERROR)
    app = button(opened(), "Hold the audition").click().run()
    settings = load_settings()
    until(lambda: not jobs.jobs(settings, "audition")[0].is_running, "the audition has ended")
    app = app.run()
    assert not app.exception
    assert "Not measured" in said(app)


def test_an_audition_needs_frames(opened, empty, ollama):
    assert "There are no frames yet" in said(opened())


def test_an_audition_that_runs_shows_how_far_it_is_and_can_be_stopped(opened, finished, ollama):
    ollama.behave(delay=5)
    app = button(opened(), "Hold the audition").click().run()
    assert button(app, "Hold the audition").disabled
    app = button(app, "Stop the audition").click().run()
    assert not app.exception
    assert not jobs.jobs(load_settings(), "audition")[0].is_running


def test_what_models_say_of_themselves_is_text(opened, finished, ollama):
    ollama.behave(models=(ShelfModel("<img src=x onerror=alert(1)>:[x](http:"), *SHELF))
    app = opened()
    assert not app.exception
    [text] = [element.value for element in app.markdown if "<img" in element.value]
    assert text == r"**\<img src\=x onerror\=alert\(1\)\>\:\[x\]\(http\:**"


def test_the_same_model_on_two_servers_is_one():
    other = ROW | {"host": "http://other:11434", "fits_gpu": False}
    [model] = models_in([ROW, other])
    assert model.hosts == ("http://box:11434", "http://other:11434")
    assert memory(model) == "loaded, does not fit the GPU: slow"
    assert pace(model) == "2.3 s a frame here"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loaded": False, "fits_gpu": None}, "not loaded"),
        ({}, "fits the GPU"),
        ({"fits_gpu": None}, "on the processor"),
    ],
)
def test_whether_it_fits_is_said_in_words(changes, words):
    [model] = models_in([ROW | changes])
    assert words in memory(model)


def test_numbers_are_as_precise_as_they_matter():
    assert [number(value) for value in (123.4, 12.3, 2.34, 0.0123)] == ["123", "12", "2.3", "0.01"]
    assert is_same("moondream", "moondream:latest")
    assert not is_same("llava", "llava:7b")


def test_an_answer_given_before_a_change_is_asked_for_again(home, monkeypatch):
    asked, go_on = threading.Event(), threading.Event()

    def run_command(settings, *words, seconds):
        asked.set()
        go_on.wait(10)
        return CommandResult(0, [], "")

    monkeypatch.setattr(inquiry, "run_command", run_command)
    questions, settings = Inquiries(), load_settings()
    answer = questions.ask(settings, "models", fresh_seconds=60)
    assert answer.outcome is None
    assert answer.is_asking
    assert asked.wait(10)
    questions.forget()
    go_on.set()
    until(lambda: not questions.is_asking(settings, "models"), "it is answered")
    answer = questions.ask(settings, "models", fresh_seconds=60)
    assert answer.outcome == CommandResult(0, [], "")
    assert answer.is_asking


def test_an_audition_is_read_from_its_lines(home):
    words = ("audition", "--frames", "12", "--model", "a", "--model", "b")
    take = {"model": "a", "frame_id": 7, "timestamp": 1.0}
    verdict = {"model": "a", "seconds_per_frame": 1.0}
    job = jobs.Job("", "audition", words, None, True, [take, verdict, {"odd": 1}], None, "")  # type: ignore[arg-type]
    found = audition_progress(job)
    assert found.models == ("a", "b")
    assert found.takes == {7: {"a": take}}
    assert found.verdicts == {"a": verdict}
