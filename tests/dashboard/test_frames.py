"""The Frames page: the gallery, single frames, the URL, corrections, and re-describing."""

import shutil
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from db import gallery, queries
from db.engine import make_engine, reading, writing
from db.gallery import FrameFilter
from enrich.describe.describer import Problem
from pages.parts.frames.frame import WARNING_TEXTS, warning_texts
from pages.parts.view import View, parse_time
from pages.parts.web.routes import ThumbnailPrefetcher
from tests.cli.terminal import ask
from tests.dashboard.conftest import said
from tests.waiting import wait_until

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
    """The query strings of the gallery's tiles."""
    return [link.proto.query_string for link in app.get("page_link") if "frame=" in link.proto.query_string]


def address(app):
    return {name: values[0] if isinstance(values, list) else values for name, values in app.query_params.items()}


def press(app, key):
    """Press the button with this key, and run the app."""
    return app.button(key=key).click().run()


def test_empty_library_links_to_adding_a_video(launch, empty):
    app = launch("frames")
    assert not app.exception
    assert "Add a video" in said(app)
    assert not app.selectbox


def test_gallery_shows_every_frame_with_time_and_caption(launch, finished):
    app = launch("frames", video="1")
    assert not app.exception
    assert len(links(app)) == 12
    labels = [link.proto.label for link in app.get("page_link")]
    assert any(label.startswith(r"0\:00\.000") for label in labels)
    assert "12 of 12 frames" in said(app).replace("\\", "")


def test_url_is_set_to_the_selected_video(launch, finished):
    app = launch("frames")
    assert address(app) == {"video": "1"}


def test_keyset_pagination_returns_to_the_same_pages(launch, finished, monkeypatch):
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


def test_thumbnails_of_the_next_page_are_prefetched(launch, finished, monkeypatch):
    monkeypatch.setattr("pages.parts.frames.filters.PAGE_CARDS", 5)
    made = []
    monkeypatch.setattr("pages.parts.web.routes.thumbnail_of", made.append)
    app = launch("frames", video="1")
    wait_until(lambda: len(made) == 5, "the thumbnails of the next page are made")
    press(app, "turn-Right")
    wait_until(lambda: len(made) == 7, "the thumbnails of the last page are made")
    names = [name for (name,) in ask(finished, "SELECT image_path FROM frames WHERE video_id = 1 ORDER BY timestamp")]
    assert made == [(finished / "frames" / name).resolve() for name in names[5:]]


@pytest.fixture
def prefetch(finished, monkeypatch):
    """A prefetcher blocked on the first of two thumbnails until `release` is set; `made` lists the images it reads."""
    made, release = [], threading.Event()
    monkeypatch.setattr("pages.parts.web.routes.thumbnail_of", lambda path: (made.append(path), release.wait()))
    prefetcher = ThumbnailPrefetcher()
    prefetcher.request([frame.id for frame in frames_of(finished, 1)[:2]])
    wait_until(lambda: made, "the first thumbnail is started")
    yield SimpleNamespace(prefetcher=prefetcher, made=made, release=release)
    release.set()
    prefetcher.close()


def test_prefetch_uses_the_library_of_its_request(prefetch, finished, monkeypatch, tmp_path):
    monkeypatch.setenv("EVERYFRAME_HOME", str(tmp_path / "another"))
    prefetch.release.set()
    wait_until(lambda: len(prefetch.made) == 2, "the second thumbnail is made")
    assert all(path.is_relative_to((finished / "frames").resolve()) for path in prefetch.made)
    assert not (tmp_path / "another").exists()


def test_closed_prefetcher_drops_requests_and_ends_its_thread(prefetch):
    closing = threading.Thread(target=prefetch.prefetcher.close)
    closing.start()
    with pytest.raises(RuntimeError, match="after shutdown"):
        wait_until(lambda: prefetch.prefetcher.request([]), "the prefetcher is closed")
    prefetch.release.set()
    closing.join()
    assert len(prefetch.made) == 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("thumbnails")]


@pytest.mark.parametrize("show", list(FrameFilter))
def test_each_filter_has_a_url_and_shows_its_frames(launch, working, show):
    app = launch("frames", video="1", show=show.value)
    assert not app.exception
    engine = engine_of(working)
    with reading(engine) as connection:
        assert len(links(app)) == gallery.count(connection, 1, show=show)
    engine.dispose()


def test_failed_frame_is_listed_and_shows_its_error(launch, working):
    app = launch("frames", video="1", show="failed")
    assert len(links(app)) == 1
    assert "Failed" in said(app)
    frame = next(frame for frame in frames_of(working, 1) if frame.error)
    app = launch("frames", video="1", frame=str(frame.id))
    assert "could not be described" in said(app)
    assert frame.error in said(app)


def test_choosing_a_filter_changes_the_url(launch, finished):
    app = launch("frames", video="1")
    app.button_group(key="frames-show").select(FrameFilter.WAITING).run()
    assert address(app) == {"video": "1", "show": "waiting"}
    assert "No frames match." in said(app)


def test_tag_filter_is_kept_in_the_url(launch, finished):
    app = launch("frames", video="1")
    tag = frames_of(finished, 1)[0].tags[0]
    app.selectbox(key="frames-tag").select(tag).run()
    assert address(app)["tag"] == tag
    assert all("tag=" in link for link in links(app))


def test_frame_page_shows_description_details_and_calls(launch, finished):
    frame = frames_of(finished, 1)[3]
    app = launch("frames", video="1", frame=str(frame.id))
    assert not app.exception
    words = said(app)
    assert "Frame 3 of the video" in words
    assert "Unique frame" in words
    assert frame.local_description in words
    assert "Not described yet." not in words
    assert "Not quick-scanned." in words
    assert "llava" in words
    fields, calls = (table.value for table in app.dataframe)
    assert str(frame.id) in list(fields["Value"])
    assert list(calls["Used"]) == ["yes"]
    assert calls["Duration (s)"][0] >= 0
    assert calls["Tokens out"][0] > 0


def test_frame_id_alone_selects_its_video(launch, finished):
    frame = frames_of(finished, 2)[0]
    app = launch("frames", frame=str(frame.id))
    assert address(app) == {"video": "2", "frame": str(frame.id)}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"video": "99"}, "This video is not in the library"),
        ({"video": "abc"}, "This video is not in the library"),
        ({"video": "9" * 30}, "This video is not in the library"),
        ({"video": "1", "frame": "4711"}, "This frame does not exist"),
        ({"video": "1", "frame": "-1"}, "This frame does not exist"),
        ({"video": "1", "after": "1e9"}, "No more frames."),
        ({"video": "1", "after": "nan", "show": "nonsense"}, "12 of 12"),
    ],
)
def test_invalid_url_shows_a_message(launch, finished, query, words):
    app = launch("frames", **query)
    assert not app.exception
    assert words in said(app)


def test_video_not_extracted_yet_shows_a_message(launch, working):
    app = launch("frames", video="2")
    assert "No frames have been extracted" in said(app)
    assert not links(app)


def test_missing_image_shows_a_message(launch, finished):
    frame = frames_of(finished, 1)[0]
    (finished / "frames" / frame.image_path).unlink()
    app = launch("frames", video="1")
    assert not app.exception
    assert "Image missing" in said(app)
    app = launch("frames", video="1", frame=str(frame.id))
    assert "The image of this frame is missing" in said(app)


def test_user_description_is_saved_and_can_be_reverted(launch, finished):
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


def test_editing_tags_keeps_the_description(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    app.multiselect(key=f"tags-{frame.id}").set_value([frame.tags[0]]).run()
    press(app, "save")
    saved = frames_of(finished, 1)[0]
    assert saved.edited_description is None
    assert saved.tags == [frame.tags[0]]


def test_unchanged_frame_is_not_saved(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    press(app, "save")
    assert frames_of(finished, 1)[0].edited_at is None


def test_draft_survives_navigation(launch, finished):
    first, second, *_ = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(first.id))
    app.text_area(key=f"text-{first.id}").set_value("half a sent").run()
    press(app, "step-Right")
    assert address(app)["frame"] == str(second.id)
    press(app, "step-Left")
    assert app.text_area(key=f"text-{first.id}").value == "half a sent"


def test_frame_is_approved_and_unapproved(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    press(app, "approve")
    assert frames_of(finished, 1)[0].reviewed_at is not None
    assert "Approved by you" in said(app)
    press(app, "approve")
    assert frames_of(finished, 1)[0].reviewed_at is None


def test_tag_is_added_to_a_time_range(launch, finished):
    frames = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    app.text_input(key="bulk-tag").set_value(" first  dance ").run()
    if app.get("button_group"):
        app.button_group(key="bulk-scope").select("time range").run()
    app.text_input(key="bulk-from").set_value(str(frames[2].timestamp)).run()
    app.text_input(key="bulk-to").set_value(str(frames[4].timestamp)).run()
    press(app, "bulk-range")
    tagged = [frame.index for frame in frames_of(finished, 1) if "first dance" in frame.tags]
    assert tagged == [2, 3, 4]


def test_invalid_time_range_tags_nothing(launch, finished):
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id))
    app.text_input(key="bulk-tag").set_value("dance").run()
    if app.get("button_group"):
        app.button_group(key="bulk-scope").select("time range").run()
    app.text_input(key="bulk-from").set_value("noon").run()
    press(app, "bulk-range")
    assert not any("dance" in frame.tags for frame in frames_of(finished, 1))


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_is_never_markdown(launch, finished, text):
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
        assert not any(text in rendered for rendered in markdown)


def test_every_reply_problem_has_a_text():
    assert set(WARNING_TEXTS) == {problem.value for problem in Problem}
    assert warning_texts([{"problem": "context_name", "detail": "Anna"}])[0].endswith(": Anna")
    assert all(sentence.endswith(".") for sentence in warning_texts({"problem": problem} for problem in WARNING_TEXTS))


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("12:30", 750), ("1:02:03.5", 3723.5), ("90", 90), (" 90 s", 90), ("0:05,25", 5.25), ("", None), ("noon", None)],
)
def test_typed_times_are_parsed(typed, seconds):
    assert parse_time(typed) == seconds


def test_view_survives_a_round_trip_through_the_url():
    view = View(video=3, frame=5, show=FrameFilter.WARNINGS, tag="a&b=c ü", is_playing=True)
    assert View.from_query(view.to_query()) == view


@pytest.fixture
def opened_panel(launch_answered, finished, monkeypatch):
    """The page of the first frame with the open panel "Re-describe", and an Ollama with two other vision models."""
    from tests.standin import ShelfModel, StandIn

    monkeypatch.setattr("pages.parts.frames.editor.is_open", lambda _: True)
    models = (ShelfModel("llava:7b"), ShelfModel("moondream:latest"), ShelfModel("mistral:7b", sees=False))
    with StandIn(models=models) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        yield lambda: launch_answered("frames", "models", video="1", frame=str(frames_of(finished, 1)[0].id))


def test_redescribe_offers_the_installed_vision_models(opened_panel):
    app = opened_panel()
    assert not app.exception
    assert app.selectbox(key="redescribe-model").options == ["llava:13b", "llava:7b", "moondream:latest"]


def test_redescribe_runs_as_a_job(opened_panel, finished, monkeypatch):
    from enrich.jobs.jobs import Job

    frame = frames_of(finished, 1)[0]
    started = []

    def start(settings, kind, *words):
        del settings
        started.append(Job("x", kind, words, datetime.now(UTC), True, [], None, ""))

    monkeypatch.setattr("pages.parts.frames.editor.start_job", start)
    monkeypatch.setattr("pages.parts.frames.editor.jobs", lambda _settings, _kind: started[::-1])
    app = opened_panel()
    app.selectbox(key="redescribe-model").select("moondream:latest").run()
    app.text_input(key="redescribe-instructions").set_value("Count the guests").run()
    press(app, "redescribe-start")
    words = started[0].words
    assert words == (
        "describe",
        "1",
        "--id",
        str(frame.id),
        "--model=moondream:latest",
        "--ask=Count the guests",
    )
    assert "is describing this frame" in said(app)
    started[0] = Job("x", "describe", words, datetime.now(UTC), False, [], 1, "Ollama is not responding")
    app.run()
    assert "could not describe this frame" in said(app)
    assert "Ollama is not responding" in said(app)


def test_redescribe_command_records_a_second_call(launch, home, described, monkeypatch):
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


def test_edit_of_a_read_only_library_is_reported_and_not_saved(launch, finished, file_permissions):
    frame = frames_of(finished, 1)[0]
    (finished / "library.db").chmod(0o444)
    finished.chmod(0o555)
    try:
        app = launch("frames", video="1", frame=str(frame.id))
        app.text_area(key=f"text-{frame.id}").set_value("Grandma laughs").run()
        press(app, "save")
    finally:
        finished.chmod(0o755)
    assert not app.exception
    assert any("is read\\-only" in toast.value for toast in app.toast), [toast.value for toast in app.toast]
    assert frames_of(finished, 1)[0].edited_description is None
