"""Frames are shown as players show them: turned, cropped, with believable pixels, and opaque."""

import math
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg, stored_size
from enrich.video.probe import probe
from enrich.video.seek import Seeker
from enrich.video.signals import LumaShrinker, small_size
from tests.clips import (
    COLOURS,
    VIDEO_ENTRY,
    image_clip,
    insert_box,
    insert_element,
    numbered_clip,
    numbered_image,
    read_jpeg,
    read_number,
    run_ffmpeg,
    shared_case,
)

BAR = 30  # rows
SEGMENT, TRACKS, TRACK, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0xE0


def images_of(path, *, rotation=None, edge=1344):
    """All frames of a video as stored, decoded to RGB; `rotation` replaces the one that the probe found."""
    rotation = probe(path).rotation if rotation is None else rotation
    with SourceFrames(path) as frames:
        return [
            read_jpeg(encode_jpeg(frame.av_frame, JpegFormat(edge, 90, rotation), sample_aspect=frame.sample_aspect))
            for frame in frames
        ]


def size_of(facts):
    return facts.width, facts.height


# Rotation


@pytest.fixture(scope="module")
def side(tmp_path_factory):
    """A clip that lies on its side, and says nothing about it."""
    path = tmp_path_factory.mktemp("side") / "side.mp4"
    return image_clip(path, (np.rot90(numbered_image(n)) for n in range(40, 64)))


def with_matrix(side, path, degrees):
    """A copy whose track header turns the picture clockwise; None: a matrix of zeros."""
    turn = math.radians(degrees or 0)
    cosine, sine = (round(65536 * value) for value in (math.cos(turn), math.sin(turn)))
    matrix = (cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30) if degrees is not None else (0,) * 9
    data = bytearray(side.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize("where", ["matrix", "tag", "SEI in MP4", "SEI in TS", "Matroska"])
def test_video_is_upright_wherever_the_file_says_how(where, side, tmp_path):
    path = tmp_path / {"tag": "a.mkv", "SEI in TS": "a.ts", "Matroska": "a.mkv"}.get(where, "a.mp4")
    sei = ("-bsf:v", "h264_metadata=display_orientation=insert:rotate=-90")
    if where in ("matrix", "Matroska"):
        with_matrix(side, tmp_path / "matrix.mp4", 90)
        run_ffmpeg("-i", tmp_path / "matrix.mp4", "-c", "copy", path)
    else:
        run_ffmpeg("-i", side, "-c", "copy", *(("-metadata:s:v", "rotate=90") if where == "tag" else sei), path)
    assert size_of(probe(path)) == (320, 180)
    assert [read_number(image) for image in images_of(path)] == list(range(40, 64))


@pytest.mark.parametrize(("degrees", "rotation"), [(80, 90), (100, 90), (44, 0), (None, 0), (181, 180)])
def test_odd_rotation_is_rounded_to_a_quarter_turn(degrees, rotation, side, tmp_path):
    with_matrix(side, tmp_path / "odd.mp4", degrees)
    assert probe(tmp_path / "odd.mp4").rotation == rotation


def test_rotation_is_found_behind_a_damaged_start():
    path = shared_case("turned-damaged-start.mp4")
    assert size_of(probe(path)) == (320, 180)
    assert [read_number(image) for image in images_of(path)] == list(range(80, 120))


def test_frame_that_says_how_it_lies_is_upright_in_any_case(tmp_path):
    path = numbered_clip(tmp_path / "turned.mp4", rotation=270, frames=3)
    assert [read_number(image) for image in images_of(path, rotation=0)] == [0, 1, 2]


# Crop


def with_bars(number):
    """A numbered image between a purple bar and a yellow one."""
    image = np.empty((180 + 2 * BAR, 320, 3), np.uint8)
    image[:BAR], image[-BAR:], image[BAR:-BAR] = COLOURS["purple"], COLOURS["yellow"], numbered_image(number)
    return image


def clean_aperture(width, height):
    return struct.pack(">I4sIIIIiIiI", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)


def cropped_mp4(folder):
    path = image_clip(folder / "cropped.mp4", map(with_bars, range(20, 44)))
    path.write_bytes(insert_box(path.read_bytes(), VIDEO_ENTRY, clean_aperture(320, 180)))
    return path


def cropped_and_turned_mp4(folder):
    path = image_clip(folder / "turned.mp4", map(with_bars, range(20, 44)), rotation=90)
    path.write_bytes(insert_box(path.read_bytes(), VIDEO_ENTRY, clean_aperture(180, 320)))
    return path


def cropped_at_odd_rows(folder):
    def image(number):
        return np.pad(with_bars(number), ((1, 1), (1, 1), (0, 0)))

    path = image_clip(folder / "odd.mp4", map(image, range(20, 44)))
    path.write_bytes(insert_box(path.read_bytes(), VIDEO_ENTRY, clean_aperture(320, 180)))
    return path


def cropped_matroska(folder):
    path = image_clip(folder / "cropped.mkv", map(with_bars, range(20, 44)))
    crop = bytes([0x54, 0xBB, 0x81, BAR, 0x54, 0xAA, 0x81, BAR])
    path.write_bytes(insert_element(path.read_bytes(), (SEGMENT, TRACKS, TRACK, VIDEO), crop))
    return path


@pytest.mark.parametrize("make", [cropped_mp4, cropped_and_turned_mp4, cropped_at_odd_rows, cropped_matroska])
def test_what_the_container_crops_is_seen_nowhere(make, tmp_path):
    path = make(tmp_path)
    facts = probe(path)
    assert size_of(facts) == (320, 180)
    images = images_of(path)
    assert [read_number(image) for image in images] == list(range(20, 44))
    assert {image.shape for image in images} == {(180, 320, 3)}
    with SourceFrames(path) as frames, Seeker(path) as seeker:
        frame = next(iter(frames)).av_frame
        assert LumaShrinker().shrink(frame).shape == small_size(frame.width, frame.height)[::-1]
        found = seeker.decode_key_frame(seeker.key_frames_around(0)[0])
        assert found is not None
        assert (found.av_frame.width, found.av_frame.height) == (frame.width, frame.height)


def test_cropped_frames_keep_their_times_and_flags(tmp_path):
    path = cropped_mp4(tmp_path)
    with SourceFrames(path) as frames:
        seen = [(frame.index, frame.timestamp, frame.av_frame.pts, frame.av_frame.key_frame) for frame in frames]
    plain = image_clip(tmp_path / "plain.mp4", map(with_bars, range(20, 44)))
    with SourceFrames(plain) as frames:
        assert seen == [(f.index, f.timestamp, f.av_frame.pts, f.av_frame.key_frame) for f in frames]


@pytest.mark.parametrize("aperture", [(0, 0), (1000, 1000), (320, 240)])
def test_crop_that_leaves_nothing_or_everything_is_ignored(aperture, tmp_path):
    path = image_clip(tmp_path / "clip.mp4", map(with_bars, range(2)))
    path.write_bytes(insert_box(path.read_bytes(), VIDEO_ENTRY, clean_aperture(*aperture)))
    assert size_of(probe(path)) == (320, 240)
    assert images_of(path)[0].shape == (240, 320, 3)


def test_rows_that_matroska_crops_are_not_squeezed():
    path = shared_case("cropped.mkv")
    assert size_of(probe(path)) == (320, 180)
    assert [read_number(image) for image in images_of(path)] == list(range(50))


# The shape of pixels and images


@pytest.mark.parametrize(
    ("size", "aspect", "used"),
    [
        ((320, 180), 100, 1),
        ((320, 180), Fraction(1, 100), 1),
        ((320, 180), 3, 1),  # 5.3:1
        ((180, 320), Fraction(1, 3), 1),
        ((320, 180), 2, 2),  # an anamorphic lens
        ((352, 576), Fraction(32, 11), Fraction(32, 11)),  # broadcast
        ((720, 240), Fraction(9, 20), Fraction(9, 20)),  # a field
        ((640, 80), Fraction(4, 3), Fraction(4, 3)),  # long before it is stretched
    ],
)
def test_pixels_of_a_shape_that_cannot_be_meant_are_square(size, aspect, used, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", size=size, sample_aspect=Fraction(aspect), frames=2)
    facts = probe(clip)
    assert facts.sample_aspect == used
    assert images_of(clip)[0].shape[1::-1] == size_of(facts) == (round(size[0] * used), size[1])


def test_header_with_1088_to_1_pixels_gives_the_frame_as_it_is_stored():
    path = shared_case("pixels-1088-to-1.mp4")
    assert size_of(probe(path)) == (320, 180)
    assert images_of(path)[0].shape == (180, 320, 3)


@pytest.mark.parametrize(
    ("size", "stored"),
    [
        ((7680, 8), (1344, 8)),
        ((8, 7680), (8, 1344)),
        ((7680, 20), (1344, 8)),
        ((7680, 3), (1344, 3)),
        ((16, 16), (16, 16)),
        ((1920, 1080), (1344, 756)),
    ],
)
def test_strip_is_not_thinned_until_nothing_is_seen(size, stored):
    assert stored_size(*size, 1344) == stored


@pytest.mark.parametrize(("name", "size"), [("ticker-7680x8.mp4", (1344, 8)), ("sprite-16x16.mp4", (16, 16))])
def test_very_long_and_very_small_videos_have_images_that_show_them(name, size):
    path = shared_case(name)
    image = images_of(path)[0]
    assert image.shape[1::-1] == size
    assert image.std() > 0 or name.startswith("sprite")


# Transparency


def alpha_clip(path, codec, pix_fmt, **options):
    """A red field on green that is transparent; a column on the right is half transparent white."""
    rgba = np.zeros((120, 160, 4), np.uint8)
    rgba[:, :] = (0, 255, 0, 0)
    rgba[40:80, 40:80] = (200, 30, 30, 255)
    rgba[:, 120:] = (255, 255, 255, 128)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={name: str(value) for name, value in options.items()})
        stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pix_fmt)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("vp9.webm", "libvpx-vp9", "yuva420p", {"crf": 10, "b": 0}),
        ("vp8.webm", "libvpx", "yuva420p", {"crf": 4, "b": "2M", "auto-alt-ref": 0}),
        ("prores.mov", "prores_ks", "yuva444p10le", {"profile": "4444"}),
        ("png.mov", "png", "rgba", {}),
        ("animation.mov", "qtrle", "argb", {}),
        ("raw.avi", "rawvideo", "bgra", {}),
        ("lossless.mkv", "ffv1", "yuva422p10le", {}),
    ],
)
def test_what_is_transparent_is_black(name, codec, pix_fmt, options, tmp_path):
    path = alpha_clip(tmp_path / name, codec, pix_fmt, **options)
    images = images_of(path)
    assert len(images) == 3
    for image in images:
        assert image[60, 60].tolist() == pytest.approx([200, 30, 30], abs=16)
        assert image[20, 20].tolist() == pytest.approx([0, 0, 0], abs=6)
        assert image[20, 140].tolist() == pytest.approx([128, 128, 128], abs=8)
    with SourceFrames(path) as frames, Seeker(path) as seeker:
        luma = LumaShrinker().shrink(next(iter(frames)).av_frame)
        found = seeker.decode_key_frame(seeker.key_frames_around(0)[0])
        # FFmpeg's decoder of QuickTime Animation marks no key frame.
        assert found is None if codec == "qtrle" else np.array_equal(LumaShrinker().shrink(found.av_frame), luma)
    assert luma[40, 40] < 4


def test_no_green_is_below_the_red_of_a_transparent_webm():
    for image in images_of(shared_case("transparent.webm")):
        red, green, blue = image.astype(int).transpose(2, 0, 1)
        assert not (green > np.maximum(red, blue) + 40).any()
        assert (red > green + 100).any()


# Grey


@pytest.mark.parametrize("pix_fmt", ["gray", "gray10le"])
@pytest.mark.parametrize("full_range", [True, False])
def test_grey_is_black_to_white_in_either_range(pix_fmt, full_range, tmp_path):
    low, high = (0, 255) if full_range else (16, 235)
    ramp = np.tile(np.linspace(low, high, 320).round().astype(np.uint8)[None, :, None], (180, 1, 3))
    options = {"x265-params": "lossless=1:log-level=none"}
    path = tmp_path / "grey.mp4"
    image_clip(path, [ramp] * 2, codec="libx265", pix_fmt=pix_fmt, full_range=full_range, options=options)
    wanted = np.linspace(0, 255, 320)
    assert images_of(path)[0][90, :, 0] == pytest.approx(wanted, abs=3)
    with SourceFrames(path) as frames:
        luma = LumaShrinker().shrink(next(iter(frames)).av_frame)
    assert luma[90] == pytest.approx(cv2.resize(wanted[None], (luma.shape[1], 1))[0], abs=3)
