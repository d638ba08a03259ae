"""The video player: browser support by file type, and kept frames as a fallback."""

import pytest

from db import extraction
from db.engine import make_engine, writing
from pages.parts.player import BrowserSupport, browser_support
from tests.dashboard.conftest import said
from tests.dashboard.test_frames import address, frames_of, links, press


@pytest.mark.parametrize(
    ("path", "codec", "expected"),
    [
        ("a.mp4", "h264", BrowserSupport.ALL),
        ("A.MP4", "h264", BrowserSupport.ALL),
        ("a.mov", "h264", BrowserSupport.ALL),
        ("a.webm", "vp9", BrowserSupport.ALL),
        ("a.webm", "libdav1d", BrowserSupport.ALL),
        ("a.mp4", "hevc", BrowserSupport.SOME),
        ("a.mkv", "h264", BrowserSupport.SOME),
        ("a.mov", "prores", BrowserSupport.NONE),
        ("a.mp4", "mpeg4", BrowserSupport.NONE),
        ("a.mts", "h264", BrowserSupport.NONE),
        ("a.avi", "mjpeg", BrowserSupport.NONE),
        ("a", "h264", BrowserSupport.NONE),
    ],
)
def test_browser_support_depends_on_extension_and_codec(path, codec, expected):
    assert browser_support(path, codec) is expected


def set_codec(home, codec):
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE videos SET codec = ?", (codec,))
    engine.dispose()


def test_player_starts_at_the_time_of_the_frame(launch, finished):
    set_codec(finished, "h264")
    frame = frames_of(finished, 1)[5]
    app = launch("frames", video="1", frame=str(frame.id))
    assert not app.get("video")
    press(app, "play")
    assert address(app)["play"] == "1"
    (video,) = app.get("video")
    assert video.proto.url.endswith("/film/1")
    assert video.proto.start_time == int(frame.timestamp)
    press(app, "play")
    assert not app.get("video")


def set_epochs(home, *epochs):
    """Each is the timestamp of its first frame, and its time in the file's clock."""
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with writing(engine) as connection:
        rows = [extraction.NewEpoch(0, first_at, clock_at, is_steady=True) for first_at, clock_at in epochs]
        extraction.save_epochs(connection, 1, rows)
    engine.dispose()


def test_player_starts_later_where_pictures_start_later(launch, finished):
    set_codec(finished, "h264")
    set_epochs(finished, (0.0, 3.25))
    frame = frames_of(finished, 1)[5]
    app = launch("frames", video="1", frame=str(frame.id), play="1")
    (video,) = app.get("video")
    assert video.proto.start_time == int(frame.timestamp + 3.25)


def test_player_reaches_the_first_of_joined_recordings_only(launch, finished):
    set_codec(finished, "h264")
    frames = frames_of(finished, 1)
    set_epochs(finished, (0.0, 1.4), (frames[6].timestamp, 1.4))
    app = launch("frames", video="1", frame=str(frames[5].id), play="1")
    assert len(app.get("video")) == 1
    app = launch("frames", video="1", frame=str(frames[6].id), play="1")
    assert not app.get("video")
    assert "several recordings one after the other" in said(app)
    assert len(links(app)) == 9


def test_unplayable_video_shows_frames_around_the_time(launch, finished):
    set_codec(finished, "prores")
    frames = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(frames[5].id), play="1")
    assert not app.exception
    assert not app.get("video")
    assert "Browsers cannot play" in said(app)
    assert "prores" in said(app)
    assert len(links(app)) == 9
    assert f"frame={frames[5].id}" in "".join(links(app))


def test_partly_supported_video_shows_player_and_frames(launch, finished):
    set_codec(finished, "hevc")
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id), play="1")
    assert len(app.get("video")) == 1
    assert "Some browsers cannot" in said(app)
    assert len(links(app)) == 5


def test_missing_file_shows_its_location_instead_of_a_player(launch, finished, monkeypatch):
    monkeypatch.setattr("enrich.library.media._has_fingerprint", lambda *_: False)
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id), play="1")
    assert not app.exception
    assert not app.get("video")
    assert "moved, deleted or replaced" in said(app)
    assert "party.mp4" in said(app)
    assert len(links(app)) == 5
