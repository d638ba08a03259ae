"""The Library page on libraries in every state, launched with AppTest; videos are added by real jobs."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from enrich.jobs.jobs import Job
from pages.parts.library.sampling import sampling_label
from tests.cli.terminal import ask, change
from tests.clips import numbered_clip
from tests.dashboard.conftest import STATES, metrics, said
from tests.waiting import wait_until


def button(app, label):
    return next(found for found in app.button if found.label == label)


def buttons(app):
    return [found.label for found in app.button]


def links(app):
    return [element.proto.label for element in app.get("page_link")]


def bars(app):
    return [element.proto.text for element in app.get("progress")]


def until(app, condition):
    """Rerun the page, as its live fragments do, until something holds."""
    wait_until(lambda: condition() or (app.run() and condition()), "the page shows it", details=lambda: said(app))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "videos" / "[x](evil) $a$.mp4"
    path.parent.mkdir()
    numbered_clip(path, frames=4, first=200)
    return path


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("query", [{}, {"do": "add"}, {"do": "add", "from": "upload"}, {"video": "1"}, {"video": "99"}])
def test_every_view_is_drawn_in_every_state(launch, request, state, query):
    request.getfixturevalue(state)
    app = launch("library", **query)
    assert not app.exception
    assert app.title[0].value


def test_empty_library_shows_the_add_form(launch, empty):
    app = launch("library")
    assert app.title[0].value == "Add videos"
    assert "The library is empty" in said(app)


def test_cards_show_length_frames_state_and_sampling(launch, finished):
    app = launch("library")
    assert links(app)[1:] == ["speech", "party"]  # newest first, below "Add videos"
    assert bars(app) == ["Described", "Described"]
    assert "12 frames · 12 kept" in said(app)
    assert "Every frame" in said(app)


def test_videos_are_filtered_by_words_and_state(launch, working):
    app = launch("library", find="PARTY")
    assert links(app)[1:] == [r"\[red\]party"]
    app = launch("library", show="trouble")
    assert links(app)[1:] == [r"\[red\]party"]
    assert "1 frame could not be described" in said(app).replace("\\", "")
    app = launch("library", show="open")
    assert links(app)[1:] == ["later"]
    app = launch("library", sort="title")
    assert links(app)[1:] == [r"\[red\]party", "later"]
    app.text_input(key="find").set_value("nothing like that").run()
    assert "No videos match" in said(app)
    assert app.query_params["find"] == "nothing like that"


def test_cards_are_paged(launch, finished, monkeypatch):
    monkeypatch.setattr("pages.parts.library.cards.CARDS_PER_PAGE", 1)
    app = launch("library")
    assert links(app)[1:] == ["speech"]
    button(app, "Next").click().run()
    assert app.query_params["page"] == "2"
    assert links(app)[1:] == ["party"]
    for number in ("77", "-1", "x"):
        app.query_params["page"] = number
        assert not app.run().exception
        assert len(links(app)) == 2


def test_video_is_added_after_its_estimate(launch, empty, video):
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(f'"{video}"')
    button(app, "Select").click().run()
    assert "\\[x\\]\\(evil\\)" in said(app)
    app.text_area(key="context").set_value("A <b>test</b>").run()
    assert "Add 1 video to the library" not in buttons(app)  # only after the estimate
    button(app, "Estimate time and space").click().run()
    until(app, lambda: "Add 1 video to the library" in buttons(app))
    assert metrics(app)["Videos"] == "1"
    assert metrics(app)["Time"] == "not measured"
    button(app, "Add 1 video to the library").click().run()
    until(app, lambda: "1 video added" in said(app))
    assert app.title[0].value == "Library"
    assert bars(app) == ["Not started, 0 %"]
    assert "“A \\<b\\>test\\<\\/b\\>”" in said(app)
    button(app, "Dismiss").click().run()
    assert "1 video added" not in said(app)


def test_video_is_added_with_the_chosen_sampling(launch, empty, video):
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(str(video.parent))
    button(app, "Select").click().run()
    app.radio(key="sampling").set_value("Fixed interval").run()
    app.number_input(key="sampling-seconds").set_value(1.5).run()
    button(app, "Estimate time and space").click().run()
    until(app, lambda: "Add 1 video to the library" in buttons(app))
    button(app, "Add 1 video to the library").click().run()
    until(app, lambda: "1 video added" in said(app))
    assert "One frame every 1.5 s" in said(app)


def test_estimate_names_files_that_are_not_videos(launch, empty, video):
    (video.parent / "letter.mp4").write_text("dear all")
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(str(video.parent / "letter.mp4"))
    button(app, "Select").click().run()
    button(app, "Estimate time and space").click().run()
    until(app, lambda: "cannot be added" in said(app))
    assert "letter.mp4 is not a video" in said(app)
    assert not [label for label in buttons(app) if label.startswith("Add ")]


def test_videos_are_selected_in_the_folder_browser(launch, empty, video, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: video.parent.parent)
    app = launch("library", do="add")
    button(app, next(label for label in buttons(app) if label.startswith("videos · 1 video, "))).click().run()
    (checkbox,) = app.checkbox
    assert checkbox.label.startswith(r"\[x\]\(evil\) \$a\$\.mp4 · ")
    checkbox.check().run()
    assert "Estimate time and space" in buttons(app)
    button(app, "Remove from selection").click().run()
    assert not app.checkbox[0].value
    button(app, "Select this folder").click().run()
    assert "folder and subfolders" in said(app)


def test_upload_is_added_with_its_title(launch, empty, video):
    uploads = empty / "uploads"
    uploads.mkdir()
    shutil.copy(video, uploads / "0123456789abcdef.mp4")
    (uploads / "0123456789abcdef.title").write_text("Grandma's 80th")
    app = launch("library", **{"do": "add", "from": "upload"})
    assert "Uploaded, not added yet" in said(app)
    button(app, "Select").click().run()
    button(app, "Estimate time and space").click().run()
    until(app, lambda: "Add 1 video to the library" in buttons(app))
    button(app, "Add 1 video to the library").click().run()
    until(app, lambda: "1 video added" in said(app))
    assert links(app)[1:] == [r"Grandma\'s 80th"]


def test_upload_is_deleted_only_on_request(launch, finished, video):
    (finished / "uploads").mkdir()
    copy = Path(shutil.copy(video, finished / "uploads" / "0123456789abcdef.mp4"))
    app = launch("library", do="add")
    assert copy.exists()
    button(app, "Delete").click().run()
    assert not copy.exists()


def test_title_and_context_are_edited(launch, finished):
    app = launch("library", video="1")
    app.text_input(key="title-1").set_value(" The *party* ")
    app.text_area(key="about-1").set_value("Ana & Tom")
    button(app, "Save").click().run()
    assert app.title[0].value == r"The \*party\*"
    assert "Saved." in said(app).replace("\\", "")
    app.text_input(key="title-1").set_value("  ")
    button(app, "Save").click().run()
    assert "Enter a title" in said(app)
    assert launch("library", video="1").text_area(key="about-1").value == "Ana & Tom"


def test_describe_first_raises_the_priority(launch, working, monkeypatch):
    from db.editing import REQUEST_PRIORITY

    monkeypatch.setattr("pages.parts.library.video.run_command", lambda *_: pytest.fail("a process to write a row"))
    app = launch("library", video="2")
    button(app, "Describe first").click().run()
    assert "Moved to the front of the queue" in said(app)
    priorities = ask(working, "SELECT DISTINCT priority FROM tasks WHERE video_id = 2")
    assert priorities == [(REQUEST_PRIORITY,)]


def test_failed_frames_are_retried(launch, failed):
    app = launch("library", video="1")
    assert "could not be described" in said(app)
    assert "the model's reply was empty" in said(app)
    button(app, "Retry failed").click().run()
    assert "queued for retry" in said(app)
    assert "Retry failed" not in buttons(app)


def test_locations_and_notes_are_shown(launch, finished, tmp_path, monkeypatch):
    copy = str(shutil.copy(ask(finished, "SELECT path FROM videos WHERE id = 1")[0][0], tmp_path / "copy.mp4"))
    change(
        finished, "INSERT INTO locations (video_id, path, added_at) VALUES (1, ?, '2026-05-01 12:00:00.000000')", copy
    )
    assert f"Also at: {copy}" in said(launch("library", video="1"))
    known = {"path": copy, "outcome": "known", "title": "party", "note": "recorded a second location"}
    refused = {"path": "pipe.mp4", "outcome": "failed", "error": "pipe.mp4 is not a regular file"}
    job = Job("1", "add", (), datetime.now(UTC), is_running=False, lines=[known, refused], exit_code=0, error="")
    monkeypatch.setattr("pages.parts.library.adding.jobs", lambda _settings, _kind: [job])
    words = said(launch("library"))
    assert "1 video already in the library" in words
    assert "party: recorded a second location" in words
    assert "pipe.mp4 is not a regular file" in words


def test_missing_file_is_reported_and_located(launch, failed, tmp_path):
    app = launch("library", video="2")
    assert "was not found" in said(app)
    other = tmp_path / "elsewhere"
    other.mkdir()
    numbered_clip(other / "other.mp4", frames=3)
    numbered_clip(other / "found.mp4", frames=4, first=50)
    button(app, "Locate file…").click().run()
    app.session_state["relink-2-folder"] = str(other)
    app.run()
    button(app, next(label for label in buttons(app) if label.startswith("other"))).click().run()
    assert "was not found" in said(app)
    assert app.error[0].value
    button(app, next(label for label in buttons(app) if label.startswith("found"))).click().run()
    assert "File located" in said(app)
    assert "was not found" not in said(app)


def test_removal_is_confirmed_and_keeps_the_file(launch, finished):
    ((path,),) = ask(finished, "SELECT path FROM videos WHERE id = 1")
    app = launch("library", video="1")
    button(app, "Remove").click().run()
    words = said(app)
    assert "12 frames (" in words
    assert "12 descriptions" in words
    assert "kB" in words
    assert "Your video file is kept." in words
    assert ask(finished, "SELECT count(*) FROM videos") == [(2,)]
    button(app, "Remove video").click().run()
    assert "Removed: party" in said(app).replace("\\", "")
    assert links(app)[1:] == ["speech"]
    assert Path(path).exists()


def test_cancelled_removal_deletes_nothing(launch, finished):
    app = launch("library", video="1")
    button(app, "Remove").click().run()
    button(app, "Cancel").click().run()
    assert app.title[0].value == "party"
    button(app, "Remove").click().run()
    assert "Remove video" in buttons(app)


def test_hostile_texts_are_shown_as_text(launch, finished):
    strange = "<img src=x onerror=alert(1)> ![x](http://evil/x.png) $\\LaTeX$ \x1b[31m \u202e :red[x]"
    change(finished, "UPDATE videos SET title = ?, context = ?, error = ? WHERE id = 1", strange, strange, strange)
    for app in (launch("library"), launch("library", video="1")):
        assert not app.exception
        words = said(app)
        assert "\x1b" not in words
        assert "\u202e" not in words
        for element in (*app.markdown, *app.caption, *app.title):
            assert not re.search(r"(?<!\\)(!\[x|<img|:red\[|\$\\LaTeX)", element.value), element.value


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ("distinct:normal", "Distinct frames"),
        ("distinct:strict", "Distinct frames, high sensitivity"),
        ("every=2s", "One frame every 2 s"),
        ("scenes", "One frame per scene"),
        ("exact", "Every frame"),
    ],
)
def test_stored_sampling_has_a_label(stored, words):
    assert sampling_label(stored) == words
