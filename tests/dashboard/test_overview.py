"""The overview on libraries in every state: figures, worker controls, failures, missing requirements, first steps."""

from types import SimpleNamespace

import psutil

from db.models import ExtractionStatus
from pages.parts.overview.figures import ENRICHMENT, time_left
from pages.parts.overview.status import percent_done
from tests.cli.terminal import ask
from tests.dashboard.conftest import begin_run, buttons, changed, metrics, press, said


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


def test_chart_shows_the_last_run_only(launch, finished):
    with psutil.Popen(["sleep", "60"]) as process:
        begin_run(finished, process)
        app = launch()
        process.kill()
    assert not app.exception
    assert "Frames per minute" in [heading.value for heading in app.subheader]
