"""Stepping through a film: over kept frames, frame by frame, and to a moment; and what is decoded ahead."""

import shutil
from pathlib import Path

import pytest

from db import queries
from db.engine import make_engine, reading
from enrich.jobs.command import CommandResult
from enrich.library.media import strip_file
from enrich.settings import load_settings
from pages.parts.frames.stepping import BLOCK, StripError, Strips
from tests.clips import numbered_clip
from tests.dashboard.conftest import _library, said
from tests.dashboard.test_frames import address, frames_of, press


@pytest.fixture(scope="session")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a film of 60 frames (1), of which every tenth or so is kept; to be copied."""
    from enrich.cli import run

    folder = tmp_path_factory.mktemp("sparse")
    numbered_clip(folder / "dance.mp4", frames=60)
    with _library(folder / "home"):
        assert run(["add", str(folder / "dance.mp4"), "--sampling", "every=0.4s"]) == 0
        assert run(["enrich"]) == 0
    return folder / "home"


@pytest.fixture
def library(home, sparse):
    shutil.copytree(sparse, home)
    return home


def video_of(home):
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with reading(engine) as connection:
        found = queries.video(connection, 1)
    engine.dispose()
    return found


def test_kept_frames_are_stepped_over_in_the_order_of_time(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    assert app.button(key="step-Left").disabled
    assert app.button(key="step-Shift+Left").disabled
    for frame in frames[1:]:
        press(app, "step-Right")
        assert address(app) == {"video": "1", "frame": str(frame.id)}
    assert app.button(key="step-Right").disabled


def test_steps_keep_to_the_filter(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id), show="corrected")
    assert app.button(key="step-Right").disabled


def test_every_frame_of_the_film_can_be_stepped_to(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    press(app, "step-Shift+Right")
    assert not app.exception
    assert address(app) == {"video": "1", "source": "1"}
    words = said(app)
    assert "Frame 1 of the film" in words
    assert "Not kept by itself: frame 0" in words
    (picture,) = app.get("image")
    assert picture.proto.imgs[0].url.endswith("/source/1/1")
    press(app, "step-Shift+Left")
    assert address(app)["source"] == "0"
    assert "stands for itself" in said(app).lower() or "itself included" in said(app)
    press(app, "step-Right")
    assert address(app)["frame"] == str(frames[1].id)


def test_the_last_frame_of_the_film_has_none_after_it(launch, library):
    app = launch("frames", video="1", source="59")
    assert not app.exception
    assert app.button(key="step-Shift+Right").disabled
    app = launch("frames", video="1", source="60")
    assert not app.exception
    assert "cannot be shown" in said(app)


def test_a_typed_moment_is_gone_to(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    app.text_input(key="jump-to").set_value(f"0:{frames[2].timestamp + 0.01:.2f}").run()
    assert address(app) == {"video": "1", "frame": str(frames[2].id)}
    assert app.text_input(key="jump-to").value == ""
    app.text_input(key="jump-to").set_value("noon").run()
    assert address(app)["frame"] == str(frames[2].id)
    assert "is no moment of a film" in app.toast[0].value


def test_in_the_gallery_a_typed_moment_turns_to_its_page(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1")
    app.text_input(key="jump-to").set_value(str(frames[3].timestamp)).run()
    first = next(link for link in app.get("page_link") if "frame=" in link.proto.query_string)
    assert f"frame={frames[3].id}" in first.proto.query_string


def test_between_frames_a_typed_moment_is_the_very_frame(launch, library):
    video = video_of(library)
    app = launch("frames", video="1", source="1")
    app.text_input(key="jump-to").set_value(str((7 + 0.01) / video.fps)).run()
    assert address(app) == {"video": "1", "source": "7"}


def test_a_film_that_is_gone_says_where_it_was(launch, library, monkeypatch):
    monkeypatch.setattr("enrich.library.media._found_fingerprint", lambda _: None)
    monkeypatch.setattr(
        "pages.parts.frames.stepping.run_command", lambda *_words, **_limit: CommandResult(1, None, "gone")
    )
    app = launch("frames", video="1", source="3")
    assert not app.exception
    assert "not where it was" in said(app)
    assert "dance.mp4" in said(app)


class Commands:
    """Stands where commands are run: a strip of all that was asked for. It decodes nothing."""

    def __init__(self, home):
        self.home = home
        self.asked = []
        self.fails = False

    def __call__(self, _settings, *words, **_limit):
        frame, before, after = (int(words[words.index(name) + 1]) for name in ("--frame", "--before", "--after"))
        self.asked.append((frame - before, frame + after))
        if self.fails:
            return CommandResult(1, None, "The drive is not connected.")
        folder = self.home / "strips" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        frames = []
        for index in range(frame - before, frame + after + 1):
            (folder / f"{index}.jpg").write_bytes(b"x")
            frames.append({"index": index, "timestamp": index / 25, "kept_frame_id": 1, "likeness": 0.9})
        return CommandResult(0, {"frames": frames}, "")


@pytest.fixture
def commands(library, monkeypatch):
    found = Commands(library)
    monkeypatch.setattr("pages.parts.frames.stepping.run_command", found)
    return found


def test_a_block_is_decoded_once_and_the_next_ahead_of_its_edge(library, commands):
    video, strips = video_of(library), Strips()
    for index in range(5, BLOCK + 5):
        assert strips.look(load_settings(), video, index).index == index
    strips.look(load_settings(), video, 2 * BLOCK)
    assert commands.asked[0] == (0, BLOCK - 1)
    assert sorted(set(commands.asked)) == sorted(commands.asked)
    assert (BLOCK, 2 * BLOCK - 1) in commands.asked


def test_a_picture_that_was_deleted_is_made_again(library, commands):
    video, strips, settings = video_of(library), Strips(), load_settings()
    strips.look(settings, video, 3)
    strip_file(settings, 1, 3).unlink()
    strips.look(settings, video, 3)
    assert commands.asked.count((0, BLOCK - 1)) == 2


def test_what_went_wrong_is_said_and_tried_again(library, commands):
    video, strips = video_of(library), Strips()
    commands.fails = True
    with pytest.raises(StripError, match="drive is not connected"):
        strips.look(load_settings(), video, 3)
    commands.fails = False
    assert strips.look(load_settings(), video, 3).index == 3


def test_nothing_is_decoded_ahead_of_a_films_end(library, commands):
    video, strips = video_of(library), Strips()
    strips.ahead(load_settings(), video, 60)
    assert commands.asked == []
