"""The overview on libraries in every state: figures, worker controls, failures, missing requirements, first steps."""

import json

import psutil
import pytest

from db import store
from db.counts import RecentWork
from db.engine import make_engine, writing
from enrich.cli import run as command
from enrich.settings import load_settings
from pages.parts.inquiry import inquiries
from pages.parts.overview.figures import ENRICHMENT
from pages.parts.overview.notices import model_text
from pages.parts.overview.status import refresh_overview
from tests.cli.conftest import NO_OLLAMA
from tests.cli.terminal import ask
from tests.dashboard.conftest import begin_run, buttons, changed, metrics, press, said
from tests.db.library import NOW, add, claim_extraction, describe, frame_ids, new_frame


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
        "Frames analyzed: **4/about 9**",
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


def test_locked_database_is_reported_as_a_sentence(launch, finished, monkeypatch):
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        reason = "the database is locked by another process: close that program; retrying"
        changed(finished, "UPDATE runs SET state = 'waiting', reason = ? WHERE id = (SELECT max(id) FROM runs)", reason)
        app = launch()
        process.kill()
    assert "The database is locked by another process: close that program; retrying." in said(app)


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


def test_chart_shows_the_last_run_only(launch, finished):
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        app = launch()
        process.kill()
    assert not app.exception
    assert "Frames per minute" in [heading.value for heading in app.subheader]


def undecoded(home):
    """Add six videos that are not decoded; of each, 50 frames were found by skimming, of which 40 are described."""
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with writing(engine) as connection:
        for number in range(6):
            video_id = add(connection, f"skimmed {number}", frame_count=5000)
            task = claim_extraction(connection, video_id)
            frames = [new_frame(place, index=None, stands_for=None) for place in range(50)]
            store.save_frames(connection, task, frames, passes=("deep",), now=NOW)
            for frame_id in frame_ids(connection, video_id)[:40]:
                describe(connection, frame_id)
    engine.dispose()
    changed(home, "DELETE FROM videos WHERE id <= 2")


def bar(app):
    """The value of the bar in the enrichment card, 0 to 100."""
    return app.get("progress")[0].proto.value


def test_bar_is_nearly_empty_while_no_video_is_decoded(launch, finished):
    undecoded(finished)
    app = launch()
    assert not app.exception
    assert metrics(app)["Covered so far"] == "0 %"
    assert "Videos enriched: **0/6**" in said(app)
    assert "Frames analyzed: **240/estimating**" in said(app)
    assert bar(app) == 0
    assert "All frames are described" not in said(app)


def test_bar_is_full_when_all_is_described(launch, finished):
    assert bar(launch()) == 100


def test_page_and_command_line_state_the_same_time_left(launch, finished, capsys, monkeypatch):
    changed(finished, "UPDATE videos SET extraction_status = 'pending', frame_count = 40 WHERE id = 2")
    seen = []
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        for described in (0, 4, 5, 200):
            monkeypatch.setattr("enrich.control.status.recent_work", lambda *_, n=described, **__: RecentWork(n, 10.0))
            refresh_overview()  # its cache may hold the figures of the round before
            app = launch()
            assert not app.exception
            [card] = [metric.delta for metric in app.metric if metric.label == "Frames per minute"]
            capsys.readouterr()
            assert command(["status"]) == 0
            [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Speed")]
            assert line.split("; ")[1].split(", by")[0] == card.split(", by")[0]
            assert command(["status", "--json"]) == 0
            is_known = json.loads(capsys.readouterr().out)["seconds_left"] is not None
            assert is_known == card.startswith("about ")
            seen.append(card.split(", by")[0])
        process.kill()
    unknown = "1 video to extract, estimating the time"
    assert seen == [unknown, unknown, "about 1 min 5 s left", "about 5 s left"], "32 frames are still to come"


@pytest.mark.parametrize("state", ["waiting", "paused", "starting", "stopping"])
def test_no_time_left_is_stated_while_nothing_is_described(launch, finished, monkeypatch, state):
    changed(finished, "UPDATE videos SET extraction_status = 'pending', frame_count = 40 WHERE id = 2")
    monkeypatch.setattr("enrich.control.status.recent_work", lambda *_, **__: RecentWork(50, 10.0))
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        changed(finished, "UPDATE runs SET state = ? WHERE id = (SELECT max(id) FROM runs)", state)
        app = launch()
        process.kill()
    [card] = [metric.delta for metric in app.metric if metric.label == "Frames per minute"]
    assert card == "1 video to extract"


def test_damaged_video_is_not_counted_as_enriched(launch, finished):
    changed(finished, "UPDATE videos SET decode_failures = 1317 WHERE id = 2")
    app = launch()
    assert "Videos enriched: **1/2**, 1 damaged" in said(app)
    assert "speech: damaged: 8 of 1,325 frames readable" in said(app)
    assert "All frames are described" not in said(app)
    assert "Nothing is left to do, but not all is described: 1 video damaged." in said(app)


def test_failed_frames_are_not_called_described(launch, finished):
    changed(finished, "UPDATE tasks SET status = 'failed', error = 'empty' WHERE id = (SELECT max(id) FROM tasks)")
    app = launch()
    assert "All frames are described" not in said(app)
    assert "not all is described: 1 frame failed." in said(app)


def bare(markdown):
    """The text that a browser shows."""
    return markdown.replace("\\", "").replace("\u2060", "")


def test_first_step_claims_no_model_before_it_was_checked(launch, empty, monkeypatch):
    monkeypatch.setattr(inquiries(), "_run", lambda *_: None)  # a check without a result yet
    app = launch()
    assert f"Checking llava:13b on {NO_OLLAMA}…" in bare(said(app))
    assert "described on this computer" not in said(app)


@pytest.mark.parametrize(
    ("hosts", "is_ready", "text"),
    [
        (NO_OLLAMA, False, "Checking llava:13b on"),
        (NO_OLLAMA, True, "on this computer. Nothing leaves it."),
        ("http://nas:11434", True, "which receives them."),
    ],
)
def test_first_step_says_where_frames_are_described(home, monkeypatch, hosts, is_ready, text):
    monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", hosts)
    assert text in bare(model_text(load_settings(), is_ready=is_ready))
