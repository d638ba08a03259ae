"""Which track of a file is the video, and which files are none: pictures, encrypted ones."""

import random

import pytest

from enrich.errors import NotAVideoError
from enrich.video.decode import SourceFrames
from enrich.video.jpeg import JpegFormat, encode_jpeg
from enrich.video.probe import probe
from enrich.video.seek import Seeker
from enrich.video.source import read_source_frame
from enrich.video.track_headers import WINDOWS_MEDIA_DRM, is_scrambled
from tests.clips import (
    VIDEO_ENTRY,
    insert_box,
    insert_element,
    numbered_clip,
    read_jpeg,
    read_number,
    run_ffmpeg,
    shared_case,
)

FRAMES = 12
SEGMENT, TRACKS, TRACK = 0x18538067, 0x1654AE6B, 0xAE
# The tracks of a file in order, each with its flags; which one is the video; the suffix.
FILES = {
    "still first": (("still", "0"), ("large", "default"), 1, "mkv"),
    "still that is the default": (("still", "default"), ("large", "0"), 1, "mkv"),
    "still in an MP4": (("still", "default"), ("small", "default"), 1, "mp4"),
    "short insert first": (("short", "default"), ("small", "0"), 1, "mkv"),
    "small first": (("small", "default"), ("large", "default"), 1, "mp4"),
    "no flags": (("small", "0"), ("large", "0"), 1, "mkv"),
    "small is the default": (("large", "0"), ("small", "default"), 1, "mkv"),
    "sign language": (("large", "default+hearing_impaired"), ("small", "default"), 1, "mkv"),
    "two programs": (("small", "0"), ("large", "0"), 1, "ts"),
    "thumbnails": (("thumbnails", "default"), ("small", "default"), 1, "mov"),
    "two defaults of about the same size": (("medium", "default"), ("large", "default"), 0, "mp4"),
    "medium without flags": (("medium", "0"), ("large", "0"), 1, "mkv"),
    "equals": (("small", "0"), ("small", "0"), 0, "mkv"),
}
FIRST_NUMBERS = {"large": 100, "small": 200, "still": 300, "short": 400, "thumbnails": 500, "medium": 600}


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """The single tracks, by name."""
    folder = tmp_path_factory.mktemp("tracks")
    photo = {"size": (640, 360), "codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True}
    return {
        "large": numbered_clip(folder / "large.mp4", frames=FRAMES, first=100),
        "small": numbered_clip(folder / "small.mp4", frames=FRAMES, first=200, size=(160, 90)),
        "medium": numbered_clip(folder / "medium.mp4", frames=FRAMES, first=600, size=(220, 124)),
        "small in Matroska": numbered_clip(folder / "small.mkv", frames=2, size=(160, 90)),
        "still": numbered_clip(folder / "still.mov", frames=1, first=300, **photo),
        "short": numbered_clip(folder / "short.mp4", frames=1, first=400, size=(640, 360)),
        "thumbnails": numbered_clip(folder / "thumbs.mov", frames=3, first=500, times=[0, 2, 4], fps=0.5, **photo),
    }


def first_number(path):
    with SourceFrames(path) as frames:
        return number_in(next(iter(frames)))


def number_in(frame):
    jpeg = encode_jpeg(frame.av_frame, JpegFormat(edge=336, quality=85), sample_aspect=frame.sample_aspect)
    return read_number(read_jpeg(jpeg))


@pytest.mark.parametrize("name", list(FILES))
def test_the_video_is_the_track_that_players_show(name, tracks, tmp_path):
    *files, right, suffix = FILES[name]
    path = tmp_path / f"both.{suffix}"
    inputs = [word for track, _ in files for word in ("-i", tracks[track])]
    flags = [word for at, (_, flag) in enumerate(files) for word in (f"-disposition:v:{at}", flag)]
    programs = ["-program", "st=0", "-program", "st=1"] if name == "two programs" else []
    run_ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", *flags, *programs, path)
    assert first_number(path) == FIRST_NUMBERS[files[right][0]]


def test_a_track_without_a_decoder_leaves_the_video_to_another(tracks, tmp_path):
    both = tmp_path / "both.mkv"
    codecs = ("-c:v:0", "copy", "-c:v:1", "mpeg4", "-q:v", "2")
    run_ffmpeg("-i", tracks["large"], "-i", tracks["small"], "-map", "0", "-map", "1", *codecs, both)
    both.write_bytes(both.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_NO_SUCH_CODEC"))
    assert first_number(both) == 200


def test_all_readers_take_the_same_track(tracks, tmp_path):
    path = tmp_path / "both.mkv"
    run_ffmpeg("-i", tracks["small"], "-i", tracks["large"], "-map", "0", "-map", "1", "-c", "copy", path)
    facts = probe(path)
    assert (facts.width, facts.height) == (320, 180)
    assert number_in(read_source_frame(path, index=3)) == 103
    with Seeker(path) as seeker:
        found = seeker.decode_key_frame(seeker.key_frames_around(0)[0])
        assert found is not None
        assert number_in(found) == 100


@pytest.mark.parametrize(("name", "number"), [("preview-track-first.mkv", 0), ("small-track-first.mp4", 0)])
def test_previews_that_come_first_are_not_the_video(name, number):
    path = shared_case(name)
    facts = probe(path)
    assert (facts.width, facts.height) == (640, 360)
    assert first_number(path) == number


# Pictures


def with_brand(path, brand):
    data = path.read_bytes()
    at = data.index(b"ftyp") + 4
    path.write_bytes(data[:at] + brand + data[at + 4 :])
    return path


@pytest.mark.parametrize("brand", [b"avif", b"heic", b"mif1"])
def test_picture_with_the_name_of_a_video_is_refused(brand, tmp_path):
    with pytest.raises(NotAVideoError, match="is a still picture, not a video"):
        probe(with_brand(numbered_clip(tmp_path / "photo.mov", frames=1), brand))


@pytest.mark.parametrize(("frames", "is_video"), [(1, False), (2, True)])
def test_animation_is_a_video_and_a_single_image_is_not(frames, is_video, tmp_path):
    clip = numbered_clip(tmp_path / "clip.mp4", frames=frames)
    run_ffmpeg("-i", clip, tmp_path / "image.gif")
    path = (tmp_path / "image.gif").rename(tmp_path / "image.mp4")
    for file in (path, with_brand(clip, b"avis")):
        if is_video:
            assert first_number(file) == 0
        else:
            with pytest.raises(NotAVideoError, match="picture"):
                probe(file)


def test_video_of_one_frame_and_motion_jpeg_are_videos(tmp_path):
    assert probe(numbered_clip(tmp_path / "one.mp4", frames=1)).width == 320
    photos = {"codec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True}
    assert first_number(numbered_clip(tmp_path / "camera.avi", first=7, **photos)) == 7


def test_avif_photo_named_as_a_video_is_refused():
    with pytest.raises(NotAVideoError, match="is a still picture, not a video"):
        probe(shared_case("still-picture.mp4"))


# Encryption


def protected_mp4(folder, entry):
    path = numbered_clip(folder / "clip.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", entry).replace(b"iso2" + entry, b"iso2avc1"))
    return path


def encrypted_webm(folder):
    path = numbered_clip(folder / "clip.webm", codec="libvpx-vp9", pix_fmt="yuv420p")
    encoding = bytes.fromhex("6d80 8e 6240 8b 503381 01 5035 84 47e181 05")  # encrypted, by AES
    path.write_bytes(insert_element(path.read_bytes(), (SEGMENT, TRACKS, TRACK), encoding))
    return path


def scrambled_broadcast(folder):
    data = bytearray(numbered_clip(folder / "clip.ts").read_bytes())
    noise = random.Random(1)
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100 and at > len(data) // 4:
            data[at + 3] |= 0x80
            head = 5 + data[at + 4] if data[at + 3] & 0x20 else 4
            data[at + head : at + 188] = noise.randbytes(188 - head)
    (folder / "clip.ts").write_bytes(data)
    return folder / "clip.ts"


def scrambled_disc(folder):
    path = numbered_clip(folder / "clip.vob", codec="mpeg2video")
    data = bytearray(path.read_bytes())
    at = data.find(b"\0\0\1\xe0")
    while at >= 0:
        data[at + 6] |= 0x10
        at = data.find(b"\0\0\1\xe0", at + 10)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: protected_mp4(folder, b"encv"),
        lambda folder: protected_mp4(folder, b"drmi"),
        encrypted_webm,
        scrambled_broadcast,
        scrambled_disc,
    ],
    ids=["MP4", "FairPlay", "WebM", "broadcast", "DVD"],
)
def test_encrypted_file_is_refused_and_says_why(make, tmp_path):
    path = make(tmp_path)
    for reader in (probe, SourceFrames, Seeker):
        with pytest.raises(NotAVideoError, match=r"is encrypted \(DRM\)"):
            reader(path)


def test_common_encryption_is_refused():
    with pytest.raises(NotAVideoError, match=r"is encrypted \(DRM\)"):
        probe(shared_case("encrypted.mp4"))


def test_track_that_is_not_encrypted_is_the_video(tracks, tmp_path):
    path = tmp_path / "both.mp4"
    run_ffmpeg("-i", tracks["large"], "-i", tracks["small"], "-map", "0", "-map", "1", "-c", "copy", path)
    data = path.read_bytes()
    entry = data.index(b"avc1", data.index(b"stsd"))
    path.write_bytes(data[:entry] + b"encv" + data[entry + 4 :])
    assert first_number(path) == 200


def test_windows_media_drm_is_seen_in_the_header(tmp_path):
    clip = numbered_clip(tmp_path / "clip.wmv", codec="wmv2")
    assert not is_scrambled(clip, ["asf"])
    clip.write_bytes(clip.read_bytes()[:30] + WINDOWS_MEDIA_DRM[0] + clip.read_bytes()[30:])
    assert is_scrambled(clip, ["asf"])


@pytest.mark.parametrize("name", ["clip.ts", "clip.m2ts", "clip.vob"])
def test_plain_broadcast_and_disc_are_read(name, tmp_path):
    codec = "mpeg2video" if name == "clip.vob" else "libx264"
    assert first_number(numbered_clip(tmp_path / name, first=9, codec=codec)) == 9


# Dolby Vision


def dolby_vision(profile, compatibility):
    return bytes([1, 0, profile << 1, 0x35, compatibility << 4]) + bytes(19)


@pytest.mark.parametrize(
    ("profile", "compatibility", "warned"),
    [
        (5, 0, True),
        (10, 0, True),
        (20, 0, True),
        (8, 1, False),
        (8, 4, False),
        (10, 1, False),
        (7, 6, False),
        (7, 0, False),
    ],
)
def test_dolby_vision_is_warned_of_if_only_dolby_knows_its_colours(profile, compatibility, warned, tracks, tmp_path):
    record = dolby_vision(profile, compatibility)
    box = (8 + len(record)).to_bytes(4, "big") + b"dvcC" + record
    clip, matroska = tmp_path / "clip.mp4", tmp_path / "clip.mkv"
    clip.write_bytes(insert_box(tracks["small"].read_bytes(), VIDEO_ENTRY, box))
    mapping = b"\x41\xe7\x84dvcC" + b"\x41\xed" + bytes([0x80 | len(record)]) + record
    mapping = b"\x41\xe4" + bytes([0x80 | len(mapping)]) + mapping
    matroska.write_bytes(insert_element(tracks["small in Matroska"].read_bytes(), (SEGMENT, TRACKS, TRACK), mapping))
    for path in (clip, matroska):
        warnings = probe(path).warnings
        assert [f"profile {profile}" in warning for warning in warnings] == ([True] if warned else [])


def test_dolby_vision_without_its_record_is_warned_of(tmp_path):
    options = {"x265-params": "log-level=none"}
    path = numbered_clip(tmp_path / "clip.mp4", frames=2, codec="libx265", options=options)
    path.write_bytes(path.read_bytes().replace(b"hev1", b"dvh1"))
    (warning,) = probe(path).warnings
    assert warning.startswith("Dolby Vision: only")


def test_dolby_vision_profile_5_of_a_phone_is_warned_of():
    (warning,) = probe(shared_case("dolby-vision-5.mp4")).warnings
    assert warning.startswith("Dolby Vision, profile 5: only Dolby's own decoder can tell its colours")
