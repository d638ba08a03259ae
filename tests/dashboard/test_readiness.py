"""Missing requirements: Ollama that does not respond, and a model that is downloaded from the page."""

from datetime import UTC, datetime

import pytest

from enrich.jobs import jobs
from enrich.jobs.command import CommandResult
from enrich.settings import load_settings
from pages.parts.readiness import pull_progress, requirement_in
from tests.dashboard.conftest import answered, buttons, press, said
from tests.standin import Trick
from tests.waiting import wait_until


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
