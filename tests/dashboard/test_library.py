"""The Library page, launched with AppTest on libraries in every state; real jobs of the command line add films."""

import re
import shutil
import time
from pathlib import Path

import pytest

from pages.parts.library.sampling import in_words
from tests.cli.terminal import ask, change
from tests.clips import numbered_clip
from tests.dashboard.conftest import STATES, metrics, said

PATIENCE_SECONDS = 60


def button(app, label):
    return next(found for found in app.button if found.label == label)


def buttons(app):
    return [found.label for found in app.button]


def links(app):
    return [element.proto.label for element in app.get("page_link")]


def bars(app):
    return [element.proto.text for element in app.get("progress")]


def until(app, condition):
    """Run the page again, as its live part does, until something holds."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, said(app)
        time.sleep(0.2)
        app.run()
    return app


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "films" / "[x](evil) $a$.mp4"
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


def test_an_empty_library_begins_with_adding(launch, empty):
    app = launch("library")
    assert app.title[0].value == "Add films"
    assert "The library is empty" in said(app)


def test_cards_say_length_frames_status_and_sampling(launch, finished):
    app = launch("library")
    assert links(app)[1:] == ["speech", "party"]  # newest first, below "Add films"
    assert bars(app) == ["Described", "Described"]
    assert "12 frames · 12 kept" in said(app)
    assert "Every single frame" in said(app)


def test_films_are_found_by_words_and_by_state(launch, working):
    app = launch("library", find="PARTY")
    assert links(app)[1:] == [r"\[red\]party"]
    app = launch("library", show="trouble")
    assert links(app)[1:] == [r"\[red\]party"]
    assert "1 picture could not be described" in said(app).replace("\\", "")
    app = launch("library", show="open")
    assert links(app)[1:] == ["later"]
    app = launch("library", sort="title")
    assert links(app)[1:] == [r"\[red\]party", "later"]
    app.text_input(key="find").set_value("nothing like that").run()
    assert "No film is like that" in said(app)
    assert app.query_params["find"] == "nothing like that"


def test_pages_of_cards_are_turned(launch, finished, monkeypatch):
    monkeypatch.setattr("pages.parts.library.cards.CARDS", 1)
    app = launch("library")
    assert links(app)[1:] == ["speech"]
    button(app, "Next").click().run()
    assert app.query_params["page"] == "2"
    assert links(app)[1:] == ["party"]
    for number in ("77", "-1", "x"):
        app.query_params["page"] = number
        assert not app.run().exception
        assert len(links(app)) == 2


def test_a_film_is_added_after_its_estimate(launch, empty, film):
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(f'"{film}"')
    button(app, "Choose").click().run()
    assert "\\[x\\]\\(evil\\)" in said(app)
    app.text_area(key="context").set_value("A <b>test</b>").run()
    assert "Add 1 film to the library" not in buttons(app)  # not before it is known what it takes
    button(app, "See what it takes").click().run()
    until(app, lambda: "Add 1 film to the library" in buttons(app))
    assert metrics(app)["Films"] == "1"
    assert metrics(app)["Time"] == "not measured"
    button(app, "Add 1 film to the library").click().run()
    until(app, lambda: "1 film added" in said(app))
    assert app.title[0].value == "Library"
    assert bars(app) == ["Not begun, 0 %"]
    assert "“A \\<b\\>test\\<\\/b\\>”" in said(app)
    button(app, "Put this away").click().run()
    assert "1 film added" not in said(app)


def test_a_sampling_in_plain_words_is_what_the_film_is_added_with(launch, empty, film):
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(str(film.parent))
    button(app, "Choose").click().run()
    app.radio(key="sampling").set_value("At steady intervals").run()
    app.number_input(key="sampling-seconds").set_value(1.5).run()
    button(app, "See what it takes").click().run()
    until(app, lambda: "Add 1 film to the library" in buttons(app))
    button(app, "Add 1 film to the library").click().run()
    until(app, lambda: "1 film added" in said(app))
    assert "A picture every 1.5 s" in said(app)


def test_what_is_no_film_is_said_before_anything_is_added(launch, empty, film):
    (film.parent / "letter.mp4").write_text("dear all")
    app = launch("library", **{"do": "add", "from": "path"})
    app.text_input(key="path").set_value(str(film.parent / "letter.mp4"))
    button(app, "Choose").click().run()
    button(app, "See what it takes").click().run()
    until(app, lambda: "cannot be used" in said(app))
    assert "letter.mp4 is not a video" in said(app)
    assert not [label for label in buttons(app) if label.startswith("Add ")]


def test_films_are_ticked_in_the_folders_of_the_machine(launch, empty, film, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: film.parent.parent)
    app = launch("library", do="add")
    button(app, next(label for label in buttons(app) if label.startswith("films · 1 film, "))).click().run()
    (tick,) = app.checkbox
    assert tick.label.startswith(r"\[x\]\(evil\) \$a\$\.mp4 · ")
    tick.check().run()
    assert "See what it takes" in buttons(app)
    button(app, "Put back").click().run()
    assert not app.checkbox[0].value
    button(app, "Choose this whole folder").click().run()
    assert "folder, with all in it" in said(app)


def test_an_upload_that_waits_is_chosen_with_its_title(launch, empty, film):
    uploads = empty / "uploads"
    uploads.mkdir()
    shutil.copy(film, uploads / "0123456789abcdef.mp4")
    (uploads / "0123456789abcdef.title").write_text("Grandma's 80th")
    app = launch("library", **{"do": "add", "from": "upload"})
    assert "Uploaded, not in the library" in said(app)
    button(app, "Choose").click().run()
    button(app, "See what it takes").click().run()
    until(app, lambda: "Add 1 film to the library" in buttons(app))
    button(app, "Add 1 film to the library").click().run()
    until(app, lambda: "1 film added" in said(app))
    assert links(app)[1:] == [r"Grandma\'s 80th"]


def test_an_upload_is_deleted_only_when_somebody_says_so(launch, finished, film):
    (finished / "uploads").mkdir()
    copy = Path(shutil.copy(film, finished / "uploads" / "0123456789abcdef.mp4"))
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
    assert "needs a title" in said(app)
    assert launch("library", video="1").text_area(key="about-1").value == "Ana & Tom"


def test_a_film_is_put_first(launch, working):
    from enrich.schedule.coverage import REQUEST_PRIORITY

    app = launch("library", video="2")
    button(app, "Describe this first").click().run()
    assert "It goes first now" in said(app)
    priorities = ask(working, "SELECT DISTINCT priority FROM tasks WHERE video_id = 2")
    assert priorities == [(REQUEST_PRIORITY,)]


def test_what_failed_is_tried_again(launch, failed):
    app = launch("library", video="1")
    assert "could not be described" in said(app)
    assert "the model's reply was empty" in said(app)
    button(app, "Try what failed again").click().run()
    assert "put back" in said(app)
    assert "Try what failed again" not in buttons(app)


def test_a_file_that_is_gone_is_said_and_found_again(launch, failed, tmp_path):
    app = launch("library", video="2")
    assert "not where it was" in said(app)
    other = tmp_path / "elsewhere"
    other.mkdir()
    numbered_clip(other / "other.mp4", frames=3)
    numbered_clip(other / "found.mp4", frames=4, first=50)
    button(app, "Say where the file is now").click().run()
    app.session_state["relink-2-folder"] = str(other)
    app.run()
    button(app, next(label for label in buttons(app) if label.startswith("other"))).click().run()
    assert "not where it was" in said(app)
    assert app.error[0].value
    button(app, next(label for label in buttons(app) if label.startswith("found"))).click().run()
    assert "Found again" in said(app)
    assert "not where it was" not in said(app)


def test_removing_asks_says_what_goes_and_leaves_the_film(launch, finished):
    ((path,),) = ask(finished, "SELECT path FROM videos WHERE id = 1")
    app = launch("library", video="1")
    button(app, "Remove").click().run()
    words = said(app)
    assert "12 kept frames with their pictures" in words
    assert "12 descriptions" in words
    assert "kB" in words
    assert "Your own film is not touched." in words
    assert ask(finished, "SELECT count(*) FROM videos") == [(2,)]
    button(app, "Remove it").click().run()
    assert "Removed: party" in said(app).replace("\\", "")
    assert links(app)[1:] == ["speech"]
    assert Path(path).exists()


def test_keeping_it_removes_nothing(launch, finished):
    app = launch("library", video="1")
    button(app, "Remove").click().run()
    button(app, "Keep it").click().run()
    assert app.title[0].value == "party"
    button(app, "Remove").click().run()
    assert "Remove it" in buttons(app)


def test_strange_texts_are_text_everywhere(launch, finished):
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
        ("distinct:normal", "Every distinct picture"),
        ("distinct:strict", "Every distinct picture, sharp-eyed"),
        ("every=2s", "A picture every 2 s"),
        ("scenes", "One picture a scene"),
        ("exact", "Every single frame"),
    ],
)
def test_a_stored_sampling_is_said_in_plain_words(stored, words):
    assert in_words(stored) == words
