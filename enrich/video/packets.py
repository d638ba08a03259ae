"""The packets of a video's track, in the order of the file: the only module that demuxes.

The track may go on under another PID, or in another recording that was joined to the file.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from av import FFmpegError
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from enrich.video.container import choose_stream, open_rest
from enrich.video.timeline import Timeline
from enrich.video.video_file import read_errors

WINDOW_BYTES = 1_000_000  # before the end of a track of MPEG-TS, in which parallel tracks have a packet
LEAST_BYTES = 2_000  # after it, in which it may go on
LEAST_GAP_BYTES = 1_000  # between two packets of a track
GAP_FACTOR = 8  # a stretch that is so many times longer than any before it is unusual
THEORA_HEADER_BIT = 0x80
MATROSKA, MP4 = "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"
# How a recording begins that was joined to another one; FFmpeg stops before it, or reads it as part of the first.
SIGNATURES = {
    "ogg": re.compile(rb"OggS\x00\x02"),
    "flv": re.compile(rb"FLV\x01[\x00-\x05]\x00\x00\x00\x09"),
    "avi": re.compile(rb"RIFF.{4}AVI LIST", re.DOTALL),
    MATROSKA: re.compile(rb"\x1a\x45\xdf\xa3.{1,64}\x42\x82", re.DOTALL),
    MP4: re.compile(rb"\x00\x00\x00[\x08-\x40]ftyp"),
}
SIGNATURE_BYTES = 80
BLOCK_BYTES = 1 << 22
SEEK_MARGINS_SECONDS = (0.0, 2.0, 10.0)  # a seek may land after the key frame; then seek further back


def demux(path: Path, container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """The packets of a track from here to the end of the file; raises av.FFmpegError where it cannot be read.

    The track may go on under another PID (MPEG-TS), or in another recording that follows in the same file: then in
    another stream. Empty packets, which some files contain, are skipped: a decoder takes them for the end.
    """
    last: Packet[VideoStream] | None = None
    failure: FFmpegError | None = None
    is_transport = container.format.name == "mpegts"
    packets = _demux_streams(container, stream)
    base, begun_at = 0, 0  # bytes: where the container that is read begins, and where the track begins in the file
    pid, codec = stream.id, stream.codec_context.name
    try:
        for packet in _until_moved(path, 0, packets) if is_transport else _of_one_recording(path, 0, packets):
            last = packet
            yield packet
    except FFmpegError as error:  # such as Ogg with sound, where another recording follows
        failure = error
    while last is not None and last.pos is not None:
        end = base + last.pos
        begin = _rest_after(path, container.format.name, end)
        if begin is not None and is_transport:
            begin = max(begin, begun_at)  # what comes before the track is not parallel to it
        rest = open_rest(path, begin) if begin is not None else None
        if begin is None or rest is None:
            break
        with rest:
            failure = None
            last, base = None, begin
            if is_transport:
                packets = _until_moved(path, begin, _moved_track(rest, codec, pid, end - begin))
            else:
                following = choose_stream(rest)
                packets = _demux_streams(rest, following) if following is not None else iter(())
                packets = _of_one_recording(path, begin, packets)
            for packet in packets:
                if last is None:
                    begun_at = begin + (packet.pos or 0)
                # The packet's stream is freed with its container.
                last, pid, codec = packet, packet.stream.id, packet.stream.codec_context.name
                yield _in_ticks_of(stream, packet)
    if failure is not None:
        raise failure


def _until_moved(path: Path, base: int, packets: "Iterator[Packet[VideoStream]]") -> "Iterator[Packet[VideoStream]]":
    """The packets of a track of MPEG-TS, up to where it moves to another PID, from which it may come back.

    Its container begins at the byte `base` of the file. Only an unusually long stretch without a packet is looked into.
    """
    last: Packet[VideoStream] | None = None
    first, longest = 0, LEAST_GAP_BYTES
    for packet in packets:
        if last is None:
            first = packet.pos or 0
        elif packet.pos is not None and last.pos is not None:
            gap = packet.pos - last.pos - last.size
            if gap > GAP_FACTOR * longest and _is_filled(path, base + first, base + last.pos, base + packet.pos, last):
                return
            longest = max(longest, gap)
        last = packet
        yield packet


def _is_filled(path: Path, first: int, end: int, until: int, last: "Packet[VideoStream]") -> bool:
    """Whether another track begins after the byte `end`, and before the byte `until`."""
    begin = max(first, end - WINDOW_BYTES)
    if (rest := open_rest(path, begin)) is None:
        return False
    with rest, suppress(FFmpegError):
        codec = last.stream.codec_context.name
        found = next(_moved_track(rest, codec, last.stream.id, end - begin), None)
        return found is not None and found.pos is not None and begin + found.pos < until
    return False


def _of_one_recording(
    path: Path, base: int, packets: "Iterator[Packet[VideoStream]]"
) -> "Iterator[Packet[VideoStream]]":
    """The packets before another recording that FFmpeg reads as part of this one, which begins at the byte `base`.

    It would be decoded with the wrong header (Matroska), or read from the wrong place (fragmented MP4).
    """
    last: Packet[VideoStream] | None = None
    for packet in packets:
        if last is not None and last.pos is not None and packet.pos is not None and _goes_back(last, packet):
            container_format = packet.stream.container.format.name
            before = None if container_format == MP4 else base + packet.pos
            is_one = container_format in (MATROSKA, MP4)
            begin = _rest_after(path, container_format, base + last.pos, before) if is_one else None
            if begin is not None and (rest := open_rest(path, begin)) is not None:
                rest.close()
                return
        last = packet
        yield packet


def _goes_back(last: "Packet[VideoStream]", packet: "Packet[VideoStream]") -> bool:
    """Whether the clock goes back. Without a decoding time, it is seen at a key frame only."""
    if packet.dts is not None and last.dts is not None and packet.dts <= last.dts:
        return True
    return packet.is_keyframe and packet.pts is not None and last.pts is not None and packet.pts <= last.pts


def _rest_after(path: Path, container_format: str, end: int, before: int | None = None) -> int | None:
    """Where another recording may begin after a byte: the last packet's. None if the file ends with this one.

    It is searched up to the byte `before`.
    """
    signature = SIGNATURES.get(container_format)
    with read_errors(path), path.open("rb") as file:
        if signature is None:
            is_stream = container_format == "mpegts" and path.stat().st_size - end > LEAST_BYTES
            return max(0, end - WINDOW_BYTES) if is_stream else None
        file.seek(end)
        begin, tail = end, b""
        while block := file.read(BLOCK_BYTES if before is None else min(BLOCK_BYTES, max(0, before - begin))):
            if found := signature.search(tail + block):
                return begin - len(tail) + found.start()
            begin, tail = begin + len(block), block[-SIGNATURE_BYTES:]
    return None


def _in_ticks_of(stream: VideoStream, packet: "Packet[VideoStream]") -> "Packet[VideoStream]":
    if packet.time_base != stream.time_base and stream.time_base is not None:
        ratio = packet.time_base / stream.time_base
        packet.pts = None if packet.pts is None else round(packet.pts * ratio)
        packet.dts = None if packet.dts is None else round(packet.dts * ratio)
    return packet


def _moved_track(rest: InputContainer, codec: str, pid: int, end: int) -> "Iterator[Packet[VideoStream]]":
    """The packets of a track that begins after the byte where another one ended; none if there is no such track.

    A track of the same codec is preferred.
    """
    codecs: dict[VideoStream, object] = {other: other.codec_context for other in rest.streams.video if other.id != pid}
    decodable = [other for other, context in codecs.items() if context is not None]  # the stubs do not say that
    others = [other for other in decodable if other.codec_context.name == codec] or decodable
    chosen: VideoStream | None = None
    parallel: set[int] = set()
    for packet in _demux_streams(rest, *others) if others else ():
        if packet.pos is not None and packet.pos < end:
            parallel.add(packet.stream.id)
        elif chosen is None and packet.stream.id not in parallel:
            chosen = packet.stream
        if packet.stream is chosen:
            yield packet


def _demux_streams(container: InputContainer, *streams: VideoStream) -> "Iterator[Packet[VideoStream]]":
    while True:
        try:
            for packet in container.demux(streams):
                is_theora = packet.stream.codec_context.name == "theora"  # its headers are packets in joined files
                if packet.size and not (is_theora and bytes(packet)[0] & THEORA_HEADER_BIT):
                    yield packet
        except IndexError:  # of PyAV, if streams appeared that were not there when the file was opened; go on reading
            continue
        return


def packets_before(path: Path, container: InputContainer, stream: VideoStream, ticks: int) -> int:
    """How many packets precede the last key frame shown at or before a time of the timeline; 0 without times.

    Reads the container up to there.
    """
    before = 0
    with suppress(FFmpegError):  # the rest of the file is unreadable
        for number, (packet, _) in enumerate(Timeline.of(stream).place(demux(path, container, stream))):
            shown = packet.pts if packet.pts is not None else packet.dts
            if packet.is_keyframe and shown is not None and shown <= ticks:
                before = number
            elif packet.dts is not None and packet.dts > ticks:
                break
    return before


def demux_from(
    path: Path, container: InputContainer, stream: VideoStream, pts: int, byte_position: int | None
) -> "Iterator[Packet[VideoStream]] | None":
    """The packets from a key frame on, which is known by its pts and its place in the file; None if it is not found.

    Raises av.FFmpegError where the file cannot be read.
    """
    for margin in SEEK_MARGINS_SECONDS:
        try:
            container.seek(pts - round(margin / (stream.time_base or 1)), stream=stream)
        except FFmpegError:
            return None
        packets = demux(path, container, stream)
        for packet in packets:
            if is_key_frame(packet, pts, byte_position):
                return chain([packet], packets)
            if packet.is_keyframe and packet.pts is not None and packet.pts > pts:
                break  # the seek landed after it
    return None


def is_key_frame(packet: "Packet[VideoStream]", pts: int, byte_position: int | None) -> bool:
    """Whether a packet is that of a key frame, which is known by its pts and its place in the file."""
    return packet.is_keyframe and packet.pts == pts and packet.pos == byte_position
