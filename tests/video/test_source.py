"""Any source frame is found again, whether it was kept or not."""

import random

import pytest

from enrich.errors import VideoError
from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg
from enrich.video.source import read_source_frame, read_source_frames
from tests.clips import numbered_clip, read_jpeg, read_number, run_ffmpeg, shared_videos

FRAMES = 120
INDEXED = ["b-frames.mkv", "starts-late.mp4", "old.avi", "open-gop.mp4"]  # several key frames, and an index of them


@pytest.fixture(params=[*INDEXED, "long-gop.mp4", "transport.ts", "mpeg2.mpg", "raw.h264"])
def clip(request, tmp_path):
    how = {
        "long-gop.mp4": {"gop": 250},
        "b-frames.mkv": {"bframes": 3, "gop": 20},
        "transport.ts": {"bframes": 2, "gop": 20},
        "starts-late.mp4": {"bframes": 2, "gop": 20, "times": [2 + n / 25 for n in range(FRAMES)]},
        "mpeg2.mpg": {"codec": "mpeg2video", "bframes": 2, "gop": 12, "options": {"qscale": "3"}},
        "raw.h264": {"gop": 20},  # cannot be sought
        "old.avi": {"codec": "mpeg4", "gop": 20},
        "open-gop.mp4": {"bframes": 3, "gop": 20, "options": {"x264-params": "open-gop=1:bframes=3"}},
    }[request.param]
    return numbered_clip(tmp_path / request.param, frames=FRAMES, **how)


def number_of(frame, folder):
    (folder / "one.jpg").write_bytes(encode_jpeg(frame.av_frame, JpegFormat(edge=336, quality=85)))
    return read_number(read_jpeg(folder / "one.jpg"))


def places(path):
    with SourceFrames(path) as frames:
        return [(frame.index, frame.timestamp) for frame in frames]


def test_frame_n_is_read_with_and_without_a_known_frame(clip, tmp_path):
    known = places(clip)
    for index, place in ((0, 0), (1, 0), (33, 20), (59, 59), (60, 58), (119, 57), (119, 0), (5, 50)):
        for near in (None, known[place]):
            frame = read_source_frame(clip, index=index, near=near)
            assert (frame.index, frame.timestamp) == known[index]
            assert number_of(frame, tmp_path) == index


def test_a_wrong_known_position_is_ignored(clip, tmp_path):
    frame = read_source_frame(clip, index=40, near=(12, 0.7771))
    assert (frame.index, number_of(frame, tmp_path)) == (40, 40)


@pytest.mark.parametrize("clip", INDEXED, indirect=True)
def test_a_known_position_saves_decoding(clip, monkeypatch):
    known = places(clip)
    seen = []
    decode = SourceFrames._source_frame
    monkeypatch.setattr(SourceFrames, "_source_frame", lambda self, frame: seen.append(1) or decode(self, frame))
    read_source_frame(clip, index=110, near=known[105])
    assert len(seen) < 60


def test_a_time_gives_the_frame_shown_then(clip, tmp_path):
    known = places(clip)
    start = known[0][1]
    for index in (0, 1, 37, 80, 118):
        for moment in (known[index][1], known[index][1] + 0.03):
            for near in (None, known[index // 2]):
                assert number_of(read_source_frame(clip, timestamp=moment, near=near), tmp_path) == index
    assert number_of(read_source_frame(clip, timestamp=start - 5), tmp_path) == 0
    assert number_of(read_source_frame(clip, timestamp=1000), tmp_path) == FRAMES - 1


def test_an_unknown_index_error_states_the_frame_count(clip):
    for near in (None, places(clip)[60]):
        with pytest.raises(VideoError, match="120 frames, 0 to 119"):
            read_source_frame(clip, index=FRAMES, near=near)
    with pytest.raises(VideoError, match="numbered from 0"):
        read_source_frame(clip, index=-1)


def test_exactly_one_of_index_and_timestamp_is_required(clip):
    for question in ({}, {"index": 1, "timestamp": 1.0}):
        with pytest.raises(TypeError):
            read_source_frame(clip, **question)


@pytest.mark.skipif(shared_videos() is None, reason="no shared footage beside the repository")
@pytest.mark.parametrize("name", ["echo-vp8.webm", "fire-vfr-rotated.mp4", "chaplin.mp4", "nasa-six-streams.mp4"])
def test_on_real_footage_too(name):
    path = shared_videos() / name
    with SourceFrames(path) as frames:
        known = [(frame.index, frame.timestamp, bytes(frame.av_frame.planes[0])[::97]) for frame in frames]
    choose = random.Random(name)
    for _ in range(5):
        index = choose.randrange(len(known))
        frame = read_source_frame(path, index=index, near=known[choose.randrange(index + 1)][:2])
        assert (frame.index, frame.timestamp, bytes(frame.av_frame.planes[0])[::97]) == known[index]
        frame = read_source_frame(path, timestamp=known[index][1])
        assert (frame.timestamp, bytes(frame.av_frame.planes[0])[::97]) == known[index][1:]


def test_a_range_of_frames_is_read_with_and_without_a_known_frame(clip, tmp_path):
    known = places(clip)
    for first, last, near in ((0, 3, None), (50, 53, 50), (50, 53, 37), (117, 130, 100), (8, 9, 60)):
        found = []
        for frame in read_source_frames(clip, first, last, near=None if near is None else known[near]):
            found.append((frame.index, frame.timestamp))
            assert number_of(frame, tmp_path) == frame.index
        assert found == known[first : last + 1]
    wrong = [frame.index for frame in read_source_frames(clip, 40, 42, near=(12, 0.7771))]
    assert wrong == [40, 41, 42]
    assert list(read_source_frames(clip, FRAMES, FRAMES + 9)) == []


def test_a_file_of_one_frame(tmp_path):
    numbered_clip(tmp_path / "one.mp4", frames=1, first=77)
    run_ffmpeg("-i", tmp_path / "one.mp4", "-c", "copy", tmp_path / "one.mkv")
    assert number_of(read_source_frame(tmp_path / "one.mkv", index=0), tmp_path) == 77
    assert number_of(read_source_frame(tmp_path / "one.mkv", timestamp=9.0), tmp_path) == 77
