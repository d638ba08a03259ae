"""Reads from a file's own bytes what PyAV does not expose: encryption, the container's crop, and Dolby Vision.

Reads a bounded number of bytes. A header that is damaged, or of a format not known here, states nothing; it raises
nothing. Sources: ISO/IEC 14496-12 (boxes) and 23001-7 (common encryption); RFC 9559 (Matroska); Dolby Vision Streams
Within the ISO Base Media File Format; ISO/IEC 13818-1 (scrambling control).
"""

import io
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

MAX_BOXES = 20_000  # of one file; a fragmented MP4 lists thousands
MAX_HEADER_BYTES = 1 << 20  # of one box or element that is read
SAMPLE_ENTRY_BYTES = 78  # of a video sample entry, before the boxes in it
ENCRYPTED_ENTRIES = (b"encv", b"drmi")  # common encryption; FairPlay
DOLBY_ENTRIES = (b"dvh1", b"dvhe", b"dav1")  # no other decoder is meant to play these
DOLBY_BOXES = (b"dvcC", b"dvvC", b"dvwC")
IPT_PROFILE = 5  # its base layer is IPT instead of YCbCr
FIRST_SINGLE_LAYER_PROFILE = 8  # from it on, the compatibility is stated; 4 and 7 are always compatible
NO_COMPATIBILITY = 0

TRANSPORT_PACKET_BYTES = (188, 192, 204)  # plain; with times (Blu-ray, AVCHD); with error correction
SYNC = b"G"
SYNC_PACKETS = 5  # in a row, to find where packets begin
SAMPLE_BYTES = 512 * 1024
SAMPLE_PLACES = (0.1, 0.5, 0.9)  # shares of the file: a broadcast may begin in the clear
VIDEO_PACK = b"\x00\x00\x01\xe0"
MIN_PACK_BYTES = 7
MPEG_2_BITS, MPEG_2, SCRAMBLING_BITS = 0xC0, 0x80, 0x30  # of the seventh byte of a pack
WINDOWS_MEDIA_DRM = (  # the GUIDs of the (Extended) Content Encryption Object
    bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e"),
    bytes.fromhex("14e68a292226174cb935dae07ee9289c"),
)

# Matroska elements
SEGMENT, CLUSTER, TRACKS, TRACK = 0x18538067, 0x1F43B675, 0x1654AE6B, 0xAE
TRACK_TYPE, VIDEO_SETTINGS, VIDEO_TRACK = 0x83, 0xE0, 1
CROP_LEFT, CROP_TOP, CROP_RIGHT, CROP_BOTTOM = 0x54CC, 0x54BB, 0x54DD, 0x54AA
ENCODINGS, ENCODING, ENCRYPTION = 0x6D80, 0x6240, 0x5035
ADDITION, ADDITION_DATA, ADDITION_TYPE = 0x41E4, 0x41ED, 0x41E7


@dataclass(frozen=True, slots=True)
class Crop:
    """Rows and columns of a decoded frame that are not shown."""

    left: int
    top: int
    right: int
    bottom: int

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The width and height that are shown."""
        return width - self.left - self.right, height - self.top - self.bottom

    def fits(self, width: int, height: int) -> bool:
        """Whether something is cropped and something is left."""
        sides = (self.left, self.top, self.right, self.bottom)
        return any(sides) and min(sides) >= 0 and min(self.size(width, height)) > 0


@dataclass(frozen=True, slots=True)
class TrackHeader:
    """What the header states about one video track."""

    number: int | None = None  # the track's ID in an MP4; in Matroska, tracks come in the order of FFmpeg's streams
    is_encrypted: bool = False
    crop: Crop | None = None
    dolby_profile: int | None = None
    has_known_colours: bool = True  # False: Dolby Vision whose colours only Dolby's decoder can tell


def read_track_headers(path: Path, formats: Collection[str]) -> list[TrackHeader]:
    """The headers of the video tracks, in order; empty for other formats. `formats` are FFmpeg's names of the format.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            if "mp4" in formats:
                return list(_mp4_tracks(file))
            if "matroska" in formats:
                return list(_matroska_tracks(file))
        except (ValueError, struct.error):  # damaged
            pass
    return []


def is_scrambled(path: Path, formats: Collection[str], pid: int | None = None) -> bool:
    """Whether most packets of a video stream are scrambled: pay television, DVD (CSS), or Windows Media DRM.

    `pid` is the stream's in a transport stream; without it, all packets count.

    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as file:
        if "asf" in formats:
            header = file.read(SAMPLE_BYTES)
            return any(guid in header for guid in WINDOWS_MEDIA_DRM)
        if not {"mpegts", "mpeg"} & set(formats):
            return False
        size = file.seek(0, io.SEEK_END)
        marks: list[bool] = []
        for share in SAMPLE_PLACES:
            file.seek(max(0, round(size * share) - SAMPLE_BYTES // 2))
            data = file.read(SAMPLE_BYTES)
            marks += _transport_marks(data, pid) if "mpegts" in formats else _pack_marks(data)
        return 2 * sum(marks) > len(marks)


def _transport_marks(data: bytes, pid: int | None) -> Iterator[bool]:
    """Whether each packet, or each of this PID, is marked as scrambled."""
    for step in TRANSPORT_PACKET_BYTES:
        for start in range(step):
            if data[start : start + SYNC_PACKETS * step : step] == SYNC * SYNC_PACKETS:
                for at in range(start, len(data) - step + 1, step):
                    if pid in (None, (data[at + 1] & 0x1F) << 8 | data[at + 2]):
                        yield bool(data[at + 3] & 0x80)
                return


def _pack_marks(data: bytes) -> Iterator[bool]:
    """Whether each video packet of a program stream is marked as scrambled."""
    at = data.find(VIDEO_PACK)
    while 0 <= at <= len(data) - MIN_PACK_BYTES:
        if data[at + 6] & MPEG_2_BITS == MPEG_2:
            yield bool(data[at + 6] & SCRAMBLING_BITS)
        at = data.find(VIDEO_PACK, at + MIN_PACK_BYTES)


# MP4 and MOV


def _boxes(file: BinaryIO, end: int | None = None) -> Iterator[tuple[bytes, int]]:
    """The type of each box from here to `end`, and where the box ends; the file is then at its content."""
    for _ in range(MAX_BOXES):
        start = file.tell()
        header = file.read(8)
        if len(header) < 8 or (end is not None and start + 8 > end):  # noqa: PLR2004  # size and type
            return
        size, kind = struct.unpack(">I4s", header)
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        stop = start + size if size else file.seek(0, io.SEEK_END)  # 0: to the end of the file
        if stop < start + 8 or (end is not None and stop > end):
            return
        file.seek(start + (16 if header[:4] == b"\0\0\0\1" else 8))
        yield kind, stop
        file.seek(stop)


def _mp4_tracks(file: BinaryIO) -> Iterator[TrackHeader]:
    for kind, end in _boxes(file):
        if kind == b"moov":
            for inner, inner_end in _boxes(file, end):
                if inner == b"trak":
                    yield from _mp4_track(file, inner_end)


def _mp4_track(file: BinaryIO, end: int) -> Iterator[TrackHeader]:
    number: int | None = None
    is_video = False
    headers: list[TrackHeader] = []
    for kind, stop in _boxes_of_track(file, end):
        data = file.read(min(stop - file.tell(), MAX_HEADER_BYTES))
        if kind == b"tkhd":
            (number,) = struct.unpack_from(">I", data, 20 if data[0] == 1 else 12)  # by the version
        elif kind == b"hdlr":
            is_video = is_video or data[8:12] == b"vide"
        elif kind == b"stsd":
            entries = io.BytesIO(data[8:])
            headers += [_sample_entry(entry, entries.read(stop - entries.tell())) for entry, stop in _boxes(entries)]
    if is_video and headers:
        last = headers[-1]
        is_encrypted = any(header.is_encrypted for header in headers)  # the first seconds may be in the clear
        yield TrackHeader(number, is_encrypted, last.crop, last.dolby_profile, last.has_known_colours)


def _boxes_of_track(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    for kind, stop in _boxes(file, end):
        if kind in (b"mdia", b"minf", b"stbl"):
            yield from _boxes_of_track(file, stop)
        elif kind in (b"tkhd", b"hdlr", b"stsd"):
            yield kind, stop


def _sample_entry(kind: bytes, data: bytes) -> TrackHeader:
    crop: Crop | None = None
    dolby: bytes | None = None
    is_encrypted = kind in ENCRYPTED_ENTRIES
    entry_file = io.BytesIO(data)
    entry_file.seek(SAMPLE_ENTRY_BYTES)
    for box, stop in _boxes(entry_file):
        content = entry_file.read(stop - entry_file.tell())
        if box == b"clap":
            crop = _clean_aperture(struct.unpack_from(">HH", data, 24), content)
        elif box in DOLBY_BOXES:
            dolby = content
    profile, has_known_colours = _dolby_vision(dolby)
    has_known_colours = has_known_colours and (dolby is not None or kind not in DOLBY_ENTRIES)
    return TrackHeader(None, is_encrypted, crop, profile, has_known_colours)


def _clean_aperture(size: tuple[int, ...], content: bytes) -> Crop | None:
    """The crop of a clean aperture, which is given by its size and the distance of its centre from the frame's."""
    width, height = size
    numbers = struct.unpack_from(">IIIIiIiI", content)
    try:
        wide, high, right, down = (Fraction(numbers[n], numbers[n + 1]) for n in range(0, 8, 2))
    except ZeroDivisionError:
        return None
    left, top = round((width - wide) / 2 + right), round((height - high) / 2 + down)
    crop = Crop(left, top, width - left - round(wide), height - top - round(high))
    return crop if crop.fits(width, height) else None


def _dolby_vision(record: bytes | None) -> tuple[int | None, bool]:
    """The profile of a Dolby Vision configuration, and whether another decoder knows the colours of its base layer."""
    if record is None or len(record) < 5:  # noqa: PLR2004  # version, profile and level, compatibility
        return None, True
    profile, compatibility = record[2] >> 1, record[4] >> 4
    is_incompatible = compatibility == NO_COMPATIBILITY and profile >= FIRST_SINGLE_LAYER_PROFILE
    return profile, not (profile == IPT_PROFILE or is_incompatible)


# Matroska and WebM


def _elements(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """The id of each element from here to `end`, and where the element ends; the file is then at its content."""
    for _ in range(MAX_BOXES):
        if file.tell() >= end:
            return
        kind, size = _variable_integer(file, is_id=True), _variable_integer(file)
        if kind is None:
            return
        stop = end if size is None else file.tell() + size
        yield kind, min(stop, end)
        file.seek(min(stop, end))


def _variable_integer(file: BinaryIO, *, is_id: bool = False) -> int | None:
    """An EBML integer; None at the end of the file and for "unknown"."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    length = 9 - first[0].bit_length()
    data = first + file.read(length - 1)
    value = int.from_bytes(data, "big")
    if is_id:
        return value
    mask = (1 << 7 * length) - 1
    return None if value & mask == mask else value & mask


def _matroska_tracks(file: BinaryIO) -> Iterator[TrackHeader]:
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    for kind, stop in _elements(file, end):
        if kind != SEGMENT:
            continue
        for inner, inner_stop in _elements(file, stop):
            if inner == TRACKS:
                for track, track_stop in _elements(file, inner_stop):
                    if track == TRACK and track_stop - file.tell() <= MAX_HEADER_BYTES:
                        yield from _matroska_track(file.read(track_stop - file.tell()))
                return
            if inner == CLUSTER:
                return


def _matroska_track(data: bytes) -> Iterator[TrackHeader]:
    track = dict(_contents(data))
    if _number(track.get(TRACK_TYPE)) != VIDEO_TRACK:
        return
    video = dict(_contents(track.get(VIDEO_SETTINGS, b"")))
    crop = Crop(*(_number(video.get(side)) for side in (CROP_LEFT, CROP_TOP, CROP_RIGHT, CROP_BOTTOM)))
    encodings = _contents(track.get(ENCODINGS, b""))
    is_encrypted = any(kind == ENCODING and ENCRYPTION in dict(_contents(inner)) for kind, inner in encodings)
    additions = [dict(_contents(inner)) for kind, inner in _contents(data) if kind == ADDITION]
    records = [addition.get(ADDITION_DATA) for addition in additions if addition.get(ADDITION_TYPE) in DOLBY_BOXES]
    profile, has_known_colours = _dolby_vision(records[0] if records else None)
    yield TrackHeader(
        None,
        is_encrypted,
        crop if any((crop.left, crop.top, crop.right, crop.bottom)) else None,
        profile,
        has_known_colours,
    )


def _contents(data: bytes) -> list[tuple[int, bytes]]:
    file = io.BytesIO(data)
    return [(kind, file.read(stop - file.tell())) for kind, stop in _elements(file, len(data))]


def _number(data: bytes | None) -> int:
    return int.from_bytes(data or b"", "big")
