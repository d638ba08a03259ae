import os
from fractions import Fraction
from itertools import product

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg, is_whole_jpeg, write_jpeg
from enrich.video.probe import probe
from tests.clips import image_clip, numbered_clip, numbered_image, read_jpeg, read_number, run_ffmpeg

COLOURS = [(200, 30, 30), (30, 160, 60), (40, 60, 200), (220, 200, 40), (255, 255, 255), (0, 0, 0), (128, 128, 128)]


def stored_image(path, folder):
    with SourceFrames(path) as frames:
        frame = next(iter(frames))
    (folder / "one.jpg").write_bytes(encode_jpeg(frame.av_frame, JpegFormat(edge=336, quality=95)))
    return read_jpeg(folder / "one.jpg")


def stored_colour(path, folder):
    return stored_image(path, folder)[10:-10, 10:-10].reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize(
    ("size", "matrix", "how"),
    [
        ((1280, 720), "bt709", {}),
        ((1280, 720), "bt709", {"is_matrix_named": False}),
        ((640, 360), "smpte170m", {}),
        ((640, 360), "smpte170m", {"is_matrix_named": False}),
        ((640, 360), "bt709", {}),
        ((640, 360), "bt709", {"full_range": True}),
        ((640, 360), "smpte170m", {"pix_fmt": "yuv420p10le"}),
        ((640, 360), "bt2020nc", {"pix_fmt": "yuv420p10le"}),
    ],
)
def test_colours_match_the_recording(size, matrix, how, tmp_path):
    for number, colour in enumerate(COLOURS):
        image = np.full((size[1], size[0], 3), colour, np.uint8)
        clip = image_clip(tmp_path / f"{number}.mp4", [image], matrix=matrix, **how)
        assert np.abs(stored_colour(clip, tmp_path) - colour).max() <= 4


@pytest.mark.parametrize("curve", ["arib-std-b67", "smpte2084"])
def test_hdr_keeps_the_original_colours(curve, tmp_path):
    """Made by zscale, with SDR's white at 203 cd/m²: it turns light grey, to leave room for highlights; hues stay."""
    colours = np.array([(200, 30, 30), (40, 60, 200), (200, 200, 200), (90, 90, 90)], np.uint8)
    image = np.repeat(np.repeat(colours[None], 80, axis=1), 180, axis=0)
    plain = image_clip(tmp_path / "plain.mkv", [image], codec="ffv1", matrix="bt709")
    scale = f"zscale=tin=bt709:pin=bt709:min=bt709:rin=tv:t={curve}:p=bt2020:m=2020_ncl:r=tv:npl=203"
    tags = f"colorprim=bt2020:transfer={curve}:colormatrix=bt2020nc:log-level=none"
    clip = tmp_path / "hdr.mp4"
    run_ffmpeg("-i", plain, "-vf", f"{scale},format=yuv420p10le", "-c:v", "libx265", "-x265-params", tags, clip)
    seen = stored_image(clip, tmp_path)[90, [40, 120, 200, 280]].astype(int)
    assert np.abs(seen - colours).max() <= 40


def test_rgb_and_grey_frames_keep_their_colours(tmp_path):
    red = np.full((180, 320, 3), (200, 30, 30), np.uint8)
    grey = np.full((180, 320, 3), 77, np.uint8)
    for codec, pix_fmt, image in (("png", "rgb24", red), ("png", "gray", grey), ("qtrle", "rgb24", red)):
        clip = image_clip(tmp_path / f"{codec}-{pix_fmt}.mov", [image], codec=codec, pix_fmt=pix_fmt)
        assert np.abs(stored_colour(clip, tmp_path) - image[0, 0]).max() <= 4


@pytest.mark.parametrize(("rotation", "size"), list(product((0, 90, 180, 270), [(320, 180), (321, 181), (33, 47)])))
def test_the_image_is_rotated_clockwise_and_keeps_its_size(rotation, size, tmp_path):
    upright = numbered_image(0b1100_1010_0111_0001, size)
    filmed = np.ascontiguousarray(np.rot90(upright, rotation // 90))
    frame = av.VideoFrame.from_ndarray(filmed, format="rgb24").reformat(format="yuv444p")
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(frame, JpegFormat(edge=1024, quality=90, rotation=rotation)))
    image = read_jpeg(tmp_path / "a.jpg")
    assert image.shape == upright.shape
    assert read_number(image) == 0b1100_1010_0111_0001


@pytest.mark.parametrize(
    ("size", "aspect", "edge", "expected"),
    [
        ((1920, 1080), 1, 1024, (1024, 576)),
        ((1080, 1920), 1, 1024, (576, 1024)),
        ((320, 180), 1, 1024, (320, 180)),
        ((720, 576), Fraction(16, 15), 1024, (768, 576)),
        ((720, 576), Fraction(64, 45), 512, (512, 288)),
        ((4000, 8), 1, 160, (160, 8)),
        ((4, 4000), 1, 160, (4, 160)),
    ],
)
def test_the_long_edge_is_limited_and_nothing_is_enlarged(size, aspect, edge, expected, tmp_path):
    frame = av.VideoFrame.from_ndarray(numbered_image(5, size), format="rgb24").reformat(format="yuv420p")
    data = encode_jpeg(frame, JpegFormat(edge=edge, quality=80), sample_aspect=Fraction(aspect))
    (tmp_path / "a.jpg").write_bytes(data)
    assert read_jpeg(tmp_path / "a.jpg").shape[1::-1] == expected


def test_the_jpeg_is_baseline():
    frame = av.VideoFrame.from_ndarray(numbered_image(5), format="rgb24")
    data = encode_jpeg(frame, JpegFormat(edge=336, quality=80))
    assert b"\xff\xc0" in data  # start of frame, baseline
    assert b"\xff\xc2" not in data[:1000]  # progressive


def small_jpeg():
    return encode_jpeg(VideoFrame.from_ndarray(numbered_image(5), format="rgb24"), JpegFormat(edge=336, quality=80))


def test_a_jpeg_is_written_atomically(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "a.jpg"
    write_jpeg(path, small_jpeg())
    assert is_whole_jpeg(path)

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_jpeg(path.with_name("b.jpg"), b"\xff\xd8\xff data \xff\xd9")
    assert [entry.name for entry in path.parent.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8\xff half", b"text \xff\xd9", b"\xff\xd8\xff" + bytes(90)])
def test_half_a_jpeg_is_not_whole(data, tmp_path):
    (tmp_path / "a.jpg").write_bytes(data)
    assert not is_whole_jpeg(tmp_path / "a.jpg")
    assert not is_whole_jpeg(tmp_path / "gone.jpg")
    assert not is_whole_jpeg(tmp_path)


def test_a_jpeg_with_damaged_data_is_not_whole(tmp_path):
    data = small_jpeg()
    middle = len(data) // 2
    for number, broken in enumerate((data[:middle] + b"\xff\xd9", data[:middle] + bytes(200) + data[middle + 200 :])):
        (tmp_path / f"{number}.jpg").write_bytes(broken)
        assert not is_whole_jpeg(tmp_path / f"{number}.jpg")


@pytest.mark.parametrize("size", [(65, 48), (66, 49), (65, 49)])
def test_an_image_of_odd_size_does_not_depend_on_memory_contents(size):
    width, height = size
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    made = set()
    for number in range(40):
        litter = [np.full(count, number * 5, np.uint8) for count in (width * height, width * height // 4, 1000)]
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        del litter
        made.add(encode_jpeg(frame, JpegFormat(edge=1000, quality=90)))
    assert len(made) == 1


@pytest.mark.parametrize("matrix", list(product((0, 90, 180, 270), (False, True), (False, True))), ids=str)
def test_rotated_and_mirrored_frames_match_another_ffmpeg(matrix, tmp_path):
    degrees, *flips = matrix
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.set_display_rotation(degrees, *flips)
        image = VideoFrame.from_ndarray(numbered_image(0b1100_1010_0111_0001), format="rgb24")
        container.mux(stream.encode(image))
        container.mux(stream.encode())
    run_ffmpeg("-i", clip, "-frames:v", "1", tmp_path / "upright.png")
    with SourceFrames(clip) as frames:
        image = next(iter(frames)).av_frame
    jpeg = encode_jpeg(image, JpegFormat(edge=336, quality=95, rotation=probe(clip).rotation))
    (tmp_path / "one.jpg").write_bytes(jpeg)
    seen, wanted = read_jpeg(tmp_path / "one.jpg"), read_jpeg(tmp_path / "upright.png")
    assert seen.shape == wanted.shape
    assert np.abs(seen.astype(int) - wanted).mean() < 3


def test_matroska_rotation_is_read(tmp_path):
    clip = numbered_clip(tmp_path / "clip.mkv", frames=2, first=777, rotation=90)
    with SourceFrames(clip) as frames:
        image = next(iter(frames)).av_frame
    (tmp_path / "one.jpg").write_bytes(
        encode_jpeg(image, JpegFormat(edge=336, quality=90, rotation=probe(clip).rotation))
    )
    assert (probe(clip).width, probe(clip).height) == (320, 180)
    assert read_number(read_jpeg(tmp_path / "one.jpg")) == 777
