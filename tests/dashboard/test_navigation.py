"""Navigation within a video: kept frames, source frames, typed times; and the cache of decoded blocks."""

import shutil
from pathlib import Path

import pytest

from db import queries
from db.engine import make_engine, reading
from enrich.jobs.command import CommandResult
from enrich.library.media import strip_file
from enrich.settings import load_settings
from pages.parts.frames.navigation import BLOCK_FRAMES, StripCache, StripError
from tests.clips import numbered_clip
from tests.dashboard.conftest import _library, said
from tests.dashboard.test_frames import address, frames_of, press


@pytest.fixture(scope="session")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a video of 60 frames (1), of which about every tenth is kept. Tests copy it."""
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


def test_kept_frames_are_stepped_in_time_order(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    assert app.button(key="step-Left").disabled
    assert app.button(key="step-Shift+Left").disabled
    for frame in frames[1:]:
        press(app, "step-Right")
        assert address(app) == {"video": "1", "frame": str(frame.id)}
    assert app.button(key="step-Right").disabled


def test_steps_respect_the_filter(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id), show="corrected")
    assert app.button(key="step-Right").disabled


def test_every_source_frame_can_be_stepped_to(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    press(app, "step-Shift+Right")
    assert not app.exception
    assert address(app) == {"video": "1", "source": "1"}
    words = said(app)
    assert "Frame 1 of the video" in words
    assert "frame 0" in words.lower()
    (image,) = app.get("image")
    assert image.proto.imgs[0].url.endswith("/source/1/1")
    press(app, "step-Shift+Left")
    assert address(app)["source"] == "0"
    assert "Unique frame" in said(app) or "Represents" in said(app)
    press(app, "step-Right")
    assert address(app)["frame"] == str(frames[1].id)


def test_last_source_frame_has_no_next(launch, library):
    app = launch("frames", video="1", source="59")
    assert not app.exception
    assert app.button(key="step-Shift+Right").disabled
    app = launch("frames", video="1", source="60")
    assert not app.exception
    assert "cannot be shown" in said(app)


def test_typed_time_opens_its_frame(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1", frame=str(frames[0].id))
    app.text_input(key="jump-to").set_value(f"0:{frames[2].timestamp + 0.01:.2f}").run()
    assert address(app) == {"video": "1", "frame": str(frames[2].id)}
    assert app.text_input(key="jump-to").value == ""
    app.text_input(key="jump-to").set_value("noon").run()
    assert address(app)["frame"] == str(frames[2].id)
    assert "is not a valid time" in app.toast[0].value


def test_typed_time_in_the_gallery_opens_its_page(launch, library):
    frames = frames_of(library, 1)
    app = launch("frames", video="1")
    app.text_input(key="jump-to").set_value(str(frames[3].timestamp)).run()
    first = next(link for link in app.get("page_link") if "frame=" in link.proto.query_string)
    assert f"frame={frames[3].id}" in first.proto.query_string


def test_typed_time_in_source_view_opens_the_exact_frame(launch, library):
    video = video_of(library)
    app = launch("frames", video="1", source="1")
    app.text_input(key="jump-to").set_value(str((7 + 0.01) / video.fps)).run()
    assert address(app) == {"video": "1", "source": "7"}


def test_missing_file_shows_its_last_location(launch, library, monkeypatch):
    monkeypatch.setattr("enrich.library.media._has_fingerprint", lambda *_: False)
    monkeypatch.setattr(
        "pages.parts.frames.navigation.run_command", lambda *_words, **_limit: CommandResult(1, None, "gone")
    )
    app = launch("frames", video="1", source="3")
    assert not app.exception
    assert "moved, deleted or replaced" in said(app)
    assert "dance.mp4" in said(app)


class Commands:
    """A fake `strip` command: writes the requested files and reports them. It decodes nothing."""

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
    monkeypatch.setattr("pages.parts.frames.navigation.run_command", found)
    return found


def test_block_is_decoded_once_and_the_next_prefetched(library, commands):
    video, strips = video_of(library), StripCache()
    for index in range(5, BLOCK_FRAMES + 5):
        assert strips.frame(load_settings(), video, index).index == index
    strips.frame(load_settings(), video, 2 * BLOCK_FRAMES)
    assert commands.asked[0] == (0, BLOCK_FRAMES - 1)
    assert sorted(set(commands.asked)) == sorted(commands.asked)
    assert (BLOCK_FRAMES, 2 * BLOCK_FRAMES - 1) in commands.asked


def test_deleted_image_is_decoded_again(library, commands):
    video, strips, settings = video_of(library), StripCache(), load_settings()
    strips.frame(settings, video, 3)
    strip_file(settings, 1, 3).unlink()
    strips.frame(settings, video, 3)
    assert commands.asked.count((0, BLOCK_FRAMES - 1)) == 2


def test_failed_block_raises_and_is_retried(library, commands):
    video, strips = video_of(library), StripCache()
    commands.fails = True
    with pytest.raises(StripError, match="drive is not connected"):
        strips.frame(load_settings(), video, 3)
    commands.fails = False
    assert strips.frame(load_settings(), video, 3).index == 3


def test_nothing_is_prefetched_past_the_end(library, commands):
    video, strips = video_of(library), StripCache()
    strips.prefetch(load_settings(), video, 60)
    assert commands.asked == []
