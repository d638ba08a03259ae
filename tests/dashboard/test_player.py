"""The film at a moment: what browsers play, and pictures instead where they cannot."""

import pytest

from db.engine import make_engine, writing
from pages.parts.player import Plays, plays
from tests.dashboard.conftest import said
from tests.dashboard.test_frames import address, frames_of, links, press


@pytest.mark.parametrize(
    ("path", "codec", "expected"),
    [
        ("a.mp4", "h264", Plays.YES),
        ("A.MP4", "h264", Plays.YES),
        ("a.mov", "h264", Plays.YES),
        ("a.webm", "vp9", Plays.YES),
        ("a.webm", "libdav1d", Plays.YES),
        ("a.mp4", "hevc", Plays.SOME),
        ("a.mkv", "h264", Plays.SOME),
        ("a.mov", "prores", Plays.NO),
        ("a.mp4", "mpeg4", Plays.NO),
        ("a.mts", "h264", Plays.NO),
        ("a.avi", "mjpeg", Plays.NO),
        ("a", "h264", Plays.NO),
    ],
)
def test_what_browsers_play_is_known_by_ending_and_codec(path, codec, expected):
    assert plays(path, codec) is expected


def set_codec(home, codec):
    engine = make_engine(f"sqlite:///{home / 'library.db'}")
    with writing(engine) as connection:
        connection.exec_driver_sql("UPDATE videos SET codec = ?", (codec,))
    engine.dispose()


def test_the_film_is_played_at_the_moment_of_the_frame(launch, finished):
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


def test_a_film_no_browser_plays_says_so_and_shows_pictures_around_the_moment(launch, finished):
    set_codec(finished, "prores")
    frames = frames_of(finished, 1)
    app = launch("frames", video="1", frame=str(frames[5].id), play="1")
    assert not app.exception
    assert not app.get("video")
    assert "Browsers cannot play" in said(app)
    assert "prores" in said(app)
    assert len(links(app)) == 9
    assert f"frame={frames[5].id}" in "".join(links(app))


def test_a_film_some_browsers_play_is_offered_with_pictures_beside_it(launch, finished):
    set_codec(finished, "hevc")
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id), play="1")
    assert len(app.get("video")) == 1
    assert "Some browsers cannot" in said(app)
    assert len(links(app)) == 5


def test_a_film_that_is_gone_is_not_played_and_its_place_is_named(launch, finished, monkeypatch):
    monkeypatch.setattr("enrich.library.media._found_fingerprint", lambda _: None)
    frame = frames_of(finished, 1)[0]
    app = launch("frames", video="1", frame=str(frame.id), play="1")
    assert not app.exception
    assert not app.get("video")
    assert "not where it was" in said(app)
    assert "party.mp4" in said(app)
    assert len(links(app)) == 5
