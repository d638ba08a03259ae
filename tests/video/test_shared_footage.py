"""Real footage: every frame is accounted for, as another build of FFmpeg counts and times them."""

from functools import cache

import pytest

from enrich.video.jpeg import is_whole_jpeg
from enrich.video.probe import probe
from tests.clips import Truth, decode_independently, read_jpeg, shared_videos

# Counted with `ffprobe -count_frames` on the first video stream.
FRAMES = {
    "bunny-720p-vp8.webm": 720,
    "chaplin.mp4": 241,
    "echo-vp8.webm": 836,
    "fire-vfr-rotated.mp4": 25,
    "gopher-vfr-portrait.mp4": 68,
    "nasa-six-streams.mp4": 325,
    "people-one-by-one.mp4": 1394,
    "screen-recording.mp4": 813,
}
LARGE = ("people-one-by-one.mp4", "screen-recording.mp4", "bunny-720p-vp8.webm")
FOLDER = shared_videos()
pytestmark = pytest.mark.skipif(FOLDER is None, reason="no shared footage beside the repository")


@cache
def truth(name: str) -> Truth:
    return decode_independently(FOLDER / name)


def cases():
    for name in FRAMES:
        for sampling in ("distinct", "exact", "every=2s", "scenes"):
            slow = name in LARGE and sampling != "distinct"
            yield pytest.param(name, sampling, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("name", "sampling"), list(cases()))
def test_kept_frames_stand_for_all_source_frames_at_their_times(name, sampling, extracted, tmp_path):
    kept, extraction = extracted(FOLDER / name, sampling, edge=160)
    times = truth(name).times
    assert len(times) == FRAMES[name]
    assert extraction.decoded == FRAMES[name]
    assert sum(frame.stands_for for frame in kept) == FRAMES[name]
    assert extraction.failures == 0
    follows = 0
    for frame in kept:
        assert frame.index == follows
        assert frame.timestamp == pytest.approx(times[frame.index], abs=0.001)
        assert is_whole_jpeg(tmp_path / "frames" / frame.image_path)
        follows += frame.stands_for
    if sampling == "exact":
        assert len(kept) == FRAMES[name]


@pytest.mark.parametrize(
    ("name", "cuts"),
    [("bunny-720p-vp8.webm", [0, 283, 376, 551]), ("nasa-six-streams.mp4", [0, 202]), ("chaplin.mp4", [0])],
)
def test_scenes_begin_where_a_person_sees_a_cut(name, cuts, extracted):
    kept, _ = extracted(FOLDER / name, "scenes", edge=160)
    assert [frame.index for frame in kept] == cuts
    assert [frame.scene for frame in kept] == list(range(len(cuts)))


def test_an_upside_down_recording_is_stored_upright(extracted, tmp_path):
    facts = probe(FOLDER / "fire-vfr-rotated.mp4")
    assert facts.rotation == 180
    kept, _ = extracted(FOLDER / "fire-vfr-rotated.mp4", "scenes")
    image = read_jpeg(tmp_path / "frames" / kept[0].image_path).astype(int)
    reference = decode_upright(FOLDER / "fire-vfr-rotated.mp4", tmp_path, image.shape)
    assert abs(image - reference).mean() < 6
    assert abs(image[::-1, ::-1] - reference).mean() > 12


def decode_upright(path, folder, shape):
    """The first frame, rotated by the ffmpeg program."""
    from tests.clips import run_ffmpeg

    run_ffmpeg("-i", path, "-frames:v", "1", "-vf", f"scale={shape[1]}:{shape[0]}", "-q:v", "2", folder / "up.jpg")
    return read_jpeg(folder / "up.jpg").astype(int)


def test_metadata_of_a_portrait_video_is_read():
    facts = probe(FOLDER / "gopher-vfr-portrait.mp4")
    assert (facts.width, facts.height, facts.rotation, facts.codec) == (270, 480, 0, "h264")
    assert facts.recorded_at is not None
    assert facts.recorded_at.isoformat() == "2020-05-11T14:18:35+00:00"
    assert facts.duration == pytest.approx(2.41, abs=0.01)


def test_the_first_of_several_video_streams_is_used_with_its_duration():
    facts = probe(FOLDER / "nasa-six-streams.mp4")
    assert facts.duration == pytest.approx(13.0)
    assert facts.frame_estimate == 325
