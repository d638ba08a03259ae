"""The Frames page: the gallery, each frame by itself, its address, and what a person says of a frame."""

import shutil
from datetime import UTC, datetime

import pytest

from db import gallery, queries
from db.engine import make_engine, reading, writing
from db.gallery import FrameFilter
from enrich.describe.describer import Problem
from pages.parts.frames.frame import WORDS, warnings
from pages.parts.view import View, moment_in
from tests.cli.terminal import ask, until
from tests.dashboard.conftest import said

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "[x](http://evil)",
    "![x](http://evil/x.png)",
    r"$\LaTeX$",
    "\x1b[31mred",
    "a\u202eb",
    ":red[x]",
)


def engine_of(home):
    return make_engine(f"sqlite:///{home / 'library.db'}")


def frames_of(home, video_id):
    engine = engine_of(home)
    with reading(engine) as connection:
        found = queries.frames(connection, video_id)
    engine.dispose()
    return found


def links(app):
    """The addresses that the tiles of the gallery lead to."""
    return [link.proto.query_string for link in app.get("page_link") if "frame=" in link.proto.query_string]


def address(app):
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def press(app, key):
    """Press the button with this key, and run."""
    return app.button(key=key).click().run()


def test_an_empty_library_says_how_to_begin(launch, empty):
    app = launch("frames")
    assert not app.exception
    assert "Add a film" in said(app)
    assert not app.selectbox


def test_the_gallery_shows_each_kept_frame_with_its_time_and_first_line(launch, finished):
    app = launch("frames", video="1")
    assert not app.exception
    assert len(links(app)) == 12
    labels = [link.proto.label for link in app.get("page_link")]
    assert any(label.startswith(r"0\:00\.000") for label in labels)
    assert "12 of 12 pictures" in said(app).replace("\\", "")


def test_a_film_without_an_address_is_put_into_it(launch, finished):
    app = launch("frames")
    assert address(app) == {"video": "1"}


def test_pages_are_turned_by_keyset_and_back_to_the_same_place(launch, finished, monkeypatch):
    monkeypatch.setattr("pages.parts.frames.filters.PAGE_CARDS", 5)
    app = launch("frames", video="1")
    first = links(app)
    assert len(first) == 5
    assert app.button(key="turn-Left").disabled
    press(app, "turn-Right")
    second = links(app)
    assert len(second) == 5
    assert not set(first) & {link.replace(f"&after={address(app)['after']}", "") for link in second}
    press(app, "turn-Right")
    assert len(links(app)) == 2
    assert app.button(key="turn-Right").disabled
    press(app, "turn-Left")
    assert links(app) == second
    press(app, "turn-Left")
    assert links(app) == first
    assert "after" not in address(app)


def test_the_next_pages_thumbnails_are_made_while_this_one_is_looked_at(launch, finished, monkeypatch):
    monkeypatch.setattr("pages.parts.frames.filters.PAGE_CARDS", 5)
    made = []
    monkeypatch.setattr("pages.parts.web.routes.thumbnail_of", made.append)
    app = launch("frames", video="1")
    until(lambda: len(made) == 5, "the next page's are made")
    press(app, "turn-Right")
    until(lambda: len(made) == 7, "the last page's are made")
    names = [name for (name,) in ask(finished, "SELECT image_path FROM frames WHERE video_id = 1 ORDER BY timestamp")]
    assert made == [(finished / "frames" / name).resolve() for name in names[5:]]


@pytest.mark.parametrize("show", list(FrameFilter))
def test_each_filter_has_an_address_and_shows_what_it_says(launch, working, show):
    app = launch("frames", video="1", show=show.value)
    assert not app.exception
    engine = engine_of(working)
    with reading(engine) as connection:
        assert len(links(app)) == gallery.count(connection, 1, show=show)
    engine.dispose()


def test_the_frame_that_failed_is_found_and_says_why(launch, working):
    app = launch("frames", video="1", show="failed")
    assert len(links(app)) == 1
    assert "Failed" in said(app)
    frame = next(frame for frame in frames_of(working, 1) if frame.error)
    app = launch("frames", video="1", frame=str(frame.id))
    assert "could not be described" in said(app)
    assert frame.error in said(app)


def test_choosing_a_filter_changes_the_address(launch, finished):
    app = launch("frames", video="1")
    app.button_group(key="frames-show").select(FrameFilter.WAITING).run()
    assert address(app) == {"video": "1", "show": "waiting"}
    assert "No frame of this film is like that." in said(app)


def test_a_tag_filters_and_stays_in_the_address(launch, finished):
    app = launch("frames", video="1")
    tag = frames_of(finished, 1)[0].tags[0]
    app.selectbox(key="frames-tag").select(tag).run()
    assert address(app)["tag"] == tag
    assert all("tag=" in link for link in links(app))


def test_a_link_opens_the_frame_with_all_that_is_known_of_it(launch, finished):
    frame = frames_of(finished, 1)[3]
    app = launch("frames", video="1", frame=str(frame.id))
    assert not app.exception
    words = said(app)
    assert "Frame 3 of the film" in words
    assert "Stands for itself alone." in words
    assert frame.local_description in words
    assert "Not described in depth yet." not in words
    assert "No first glance was taken." in words
    assert "llava" in words
    fields, calls = (table.value for table in app.dataframe)
    assert str(frame.id) in list(fields["Value"])
    assert list(calls["Became the text"]) == ["yes"]
    assert calls["Seconds"][0] >= 0
    assert calls["Tokens written"][0] > 0


def test_a_frame_is_known_by_its_id_alone(launch, finished):
    frame = frames_of(finished, 2)[0]
    app = launch("frames", frame=str(frame.id))
    assert address(app) == {"video": "2", "frame": str(frame.id)}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"video": "99"}, "There is no such film"),
        ({"video": "abc"}, "There is no such film"),
        ({"video": "9" * 30}, "There is no such film"),
        ({"video": "1", "frame": "4711"}, "There is no such frame"),
        ({"video": "1", "frame": "-1"}, "There is no such frame"),
        ({"video": "1", "after": "1e9"}, "Nothing follows."),
        ({"video": "1", "after": "nan", "show": "nonsense"}, "12 of 12"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(launch, finished, query, words):
    app = launch("frames", **query)
    assert not app.exception
    assert words in said(app)


def test_a_film_that_is_not_decoded_yet_says_so(launch, working):
    app = launch("frames", video="2")
    assert "not decoded yet" in said(app)
    assert not links(app)


def test_a_missing_picture_is_a_sentence_and_not_a_broken_image(launch, finished):
    frame = frames_of(finished, 1)[0]
    (finished / "frames" / frame.image_path).unlink()
    app = launch("frames", video="1")
    assert not app.exception
    assert "The picture is missing" in said(app)
    app = launch("frames", video="1", frame=str(frame.id))
    assert "The picture of this frame is missing" in said(app)


def test_what_a_person_writes_is_saved_and_the_models_text_stays_beside_it(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    app.text_area(key=f"text-{frame.id}").set_value("Grandma laughs").run()
    press(app, "save")
    saved = frames_of(finished, 1)[0]
    assert saved.edited_description == "Grandma laughs"
    assert saved.edited_tags is None
    assert saved.local_description == frame.local_description
    assert frame.local_description in said(app)
    assert "Corrected by you" in said(app)
    press(app, "restore")
    assert frames_of(finished, 1)[0].edited_description is None
    assert app.text_area(key=f"text-{frame.id}").value == frame.local_description


def test_tags_are_edited_without_touching_the_text(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    app.multiselect(key=f"tags-{frame.id}").set_value([frame.tags[0]]).run()
    press(app, "save")
    saved = frames_of(finished, 1)[0]
    assert saved.edited_description is None
    assert saved.tags == [frame.tags[0]]


def test_nothing_new_is_not_saved(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    press(app, "save")
    assert frames_of(finished, 1)[0].edited_at is None


def test_a_draft_stays_while_other_frames_are_looked_at(launch, finished):
    first, second, *_ = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(first.id))
    app.text_area(key=f"text-{first.id}").set_value("half a sent").run()
    press(app, "step-Right")
    assert address(app)["frame"] == str(second.id)
    press(app, "step-Left")
    assert app.text_area(key=f"text-{first.id}").value == "half a sent"


def test_a_frame_is_approved_and_the_approval_taken_back(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    press(app, "approve")
    assert frames_of(finished, 1)[0].reviewed_at is not None
    assert "Approved by you" in said(app)
    press(app, "approve")
    assert frames_of(finished, 1)[0].reviewed_at is None


def test_a_tag_is_put_on_a_stretch_of_the_film(launch, finished):
    frames = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    app.text_input(key="many-tag").set_value(" first  dance ").run()
    if app.get("button_group"):
        app.button_group(key="many-where").select("from … to …").run()
    app.text_input(key="many-from").set_value(str(frames[2].timestamp)).run()
    app.text_input(key="many-to").set_value(str(frames[4].timestamp)).run()
    press(app, "many-range")
    tagged = [frame.index for frame in frames_of(finished, 1) if "first dance" in frame.tags]
    assert tagged == [2, 3, 4]


def test_a_stretch_that_cannot_be_read_tags_nothing(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    app.text_input(key="many-tag").set_value("dance").run()
    if app.get("button_group"):
        app.button_group(key="many-where").select("from … to …").run()
    app.text_input(key="many-from").set_value("noon").run()
    press(app, "many-range")
    assert not any("dance" in frame.tags for frame in frames_of(finished, 1))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_others_wrote_is_text_wherever_it_stands(launch, finished, text):
    frame = frames_of(finished, 1)[0]
    engine = engine_of(finished)
    with writing(engine) as connection:
        connection.exec_driver_sql(
            "UPDATE frames SET local_description = ?, local_tags = json_array(?) WHERE id = ?", (text, text, frame.id)
        )
        connection.exec_driver_sql("UPDATE videos SET title = ? WHERE id = 1", (text,))
    engine.dispose()
    for query in ({"video": "1"}, {"video": "1", "frame": str(frame.id)}):
        app = launch("frames", **query)
        assert not app.exception
        markdown = [one.value for kind in (app.markdown, app.caption, app.subheader, app.info) for one in kind]
        markdown += [link.proto.label for link in app.get("page_link")]
        assert not any(text in said_as_markdown for said_as_markdown in markdown)


def test_every_doubt_about_an_answer_has_plain_words():
    assert set(WORDS) == {problem.value for problem in Problem}
    assert warnings([{"problem": "context_name", "detail": "Anna"}])[0].endswith(": Anna")
    assert all(sentence.endswith(".") for sentence in warnings({"problem": problem} for problem in WORDS))


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("12:30", 750), ("1:02:03.5", 3723.5), ("90", 90), (" 90 s", 90), ("0:05,25", 5.25), ("", None), ("noon", None)],
)
def test_a_moment_is_read_as_people_type_it(typed, seconds):
    assert moment_in(typed) == seconds


def test_an_address_survives_the_way_there_and_back():
    view = View(video=3, frame=5, show=FrameFilter.WARNINGS, tag="a&b=c ü", plays=True)
    assert View.of(view.query()) == view


def test_a_new_description_is_asked_for_as_a_job(launch, finished, monkeypatch):
    from enrich.jobs.jobs import Job

    frame = frames_of(finished, 1)[0]
    started = []

    def start(settings, kind, *words):
        del settings
        started.append(Job("x", kind, words, datetime.now(UTC), True, [], None, ""))

    monkeypatch.setattr("pages.parts.frames.asking.start_job", start)
    monkeypatch.setattr("pages.parts.frames.asking.jobs", lambda _settings, _kind: started[::-1])
    monkeypatch.setattr("pages.parts.frames.asking.installed_models", lambda _: ["moondream:latest"])
    monkeypatch.setattr("pages.parts.frames.asking.is_open", lambda _: True)
    app = launch("frames", video="1", frame=str(frame.id))
    app.selectbox(key="ask-model").select("moondream:latest").run()
    app.text_input(key="ask-request").set_value("Count the guests").run()
    press(app, "ask-now")
    words = started[0].words
    assert words == (
        "describe",
        "1",
        "--id",
        str(frame.id),
        "--model=moondream:latest",
        "--ask=Count the guests",
    )
    assert "is looking at this frame" in said(app)
    started[0] = Job("x", "describe", words, datetime.now(UTC), False, [], 1, "Ollama does not answer")
    app.run()
    assert "could not describe this frame" in said(app)
    assert "Ollama does not answer" in said(app)


def test_a_request_about_a_frame_is_answered_by_a_real_model_server(launch, home, described, monkeypatch):
    from enrich.jobs.command import run_command
    from enrich.settings import load_settings
    from tests.standin import StandIn

    shutil.copytree(described, home)
    frame = frames_of(home, 1)[0]
    with StandIn() as server:
        monkeypatch.setenv("EVERYFRAME_OLLAMA_HOSTS", server.address)
        monkeypatch.delenv("OLLAMA_HOST", raising=False)
        outcome = run_command(load_settings(), "describe", "1", "--id", str(frame.id))
    assert outcome.is_good, outcome.error
    app = launch("frames", video="1", frame=str(frame.id))
    _, calls = (table.value for table in app.dataframe)
    assert len(calls) == 2
