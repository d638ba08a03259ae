"""The video player, starting at a given time, with kept frames as a fallback where the browser cannot play the file.

A browser's clock is that of the file: a frame is shown at its timestamp plus `VideoRow.clock_offset`, which is more
than zero if the pictures start later than the file. Measured in Chromium for MP4 with edit lists, fragmented MP4, MKV
and WebM (`tests/browser/test_playing.py`).

Browser support is decided by the file extension and the video codec. Sources: caniuse.com and MDN's guides to media
containers and codecs, as of 2026. The audio codec is ignored: a video with unsupported audio plays silently.
"""

from enum import StrEnum
from pathlib import PurePath
from typing import assert_never

import streamlit as st

from db import gallery
from db.queries import VideoRow
from enrich.library.media import video_file
from enrich.wording import format_timestamp, markdown_text, printable
from pages.parts.gallery import draw_gallery, tile_of
from pages.parts.session import engine, reading
from pages.parts.view import EPSILON_SECONDS, PAGE, View, video_url

NEARBY_FRAMES = 4  # kept frames shown on each side of the current time


class BrowserSupport(StrEnum):
    """Which browsers can play a video."""

    ALL = "all"
    SOME = "some"  # some browsers, or only with hardware decoding
    NONE = "none"


MP4_CODECS = {
    "h264": BrowserSupport.ALL,
    "vp9": BrowserSupport.ALL,
    "av1": BrowserSupport.ALL,
    "hevc": BrowserSupport.SOME,
}
SUPPORTED_CODECS = {
    ".mp4": MP4_CODECS,
    ".m4v": MP4_CODECS,
    ".mov": {"h264": BrowserSupport.ALL, "hevc": BrowserSupport.SOME},
    ".webm": dict.fromkeys(("vp8", "vp9", "av1"), BrowserSupport.ALL),
    ".mkv": dict.fromkeys(("h264", "hevc", "vp8", "vp9", "av1"), BrowserSupport.SOME),  # Chrome and Edge only
}
CODEC_ALIASES = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}  # decoder names


def browser_support(path: str, codec: str) -> BrowserSupport:
    """Which browsers can play a file with this extension and video codec."""
    codecs = SUPPORTED_CODECS.get(PurePath(path).suffix.lower(), {})
    return codecs.get(CODEC_ALIASES.get(codec, codec), BrowserSupport.NONE)


def draw_player(video: VideoRow, view: View, seconds: float) -> None:
    """Play the video from this time, or explain why it cannot be played and show the kept frames around it."""
    path = video_file(engine(), video.id)
    if path is None:
        show_missing_file(video)
        draw_nearby_frames(video, view, seconds)
        return
    support = browser_support(str(path), video.codec)
    kind = markdown_text(f"{path.suffix or 'no extension'}, {video.codec}")
    match support:
        case BrowserSupport.NONE:
            st.info(f"Browsers cannot play this type of video ({kind}). Showing the frames around this time instead.")
            draw_nearby_frames(video, view, seconds)
        case BrowserSupport.ALL | BrowserSupport.SOME if not is_in_first_epoch(video, seconds):
            end = markdown_text(format_timestamp(video.first_epoch_end))
            st.info(
                f"This file holds several recordings one after the other. Browsers play only the first, up to {end}. "
                "Showing the frames around this time instead."
            )
            draw_nearby_frames(video, view, seconds)
        case BrowserSupport.ALL | BrowserSupport.SOME:
            st.video(
                video_url(video.id),
                start_time=max(0, int(seconds + video.clock_offset + EPSILON_SECONDS)),
                autoplay=True,
                alt=f"Video {printable(video.title)}, playing from {format_timestamp(seconds)}",
            )
            if support is BrowserSupport.SOME:
                st.caption(f"Some browsers cannot play this type of video ({kind}). Frames around this time:")
                draw_nearby_frames(video, view, seconds)
        case _:
            assert_never(support)


def is_in_first_epoch(video: VideoRow, seconds: float) -> bool:
    """Whether a browser reaches a time: its clock is that of the file, and follows it only until it restarts."""
    return video.first_epoch_end is None or seconds < video.first_epoch_end - EPSILON_SECONDS


def show_missing_file(video: VideoRow) -> None:
    """Say where the video file was last seen, and what to do."""
    st.warning("The video file has been moved, deleted or replaced. Last known location:")
    st.text(printable(video.path))
    st.caption("Reconnect its drive or restore the file. If it has moved, locate it on the Library page.")


def show_decode_error(video: VideoRow, view: View, error: Exception) -> None:
    """Say why a source frame cannot be decoded, and link back to the gallery."""
    if video_file(engine(), video.id) is None:
        show_missing_file(video)
    else:
        st.warning("This frame cannot be shown:")
        st.text(printable(error))
    st.page_link(PAGE, label=f"All frames of {markdown_text(video.title)}", query_params=view.gallery().to_query())


def draw_nearby_frames(video: VideoRow, view: View, seconds: float) -> None:
    """The kept frames before and after a time, each linked to its page."""
    with reading() as connection:
        before = gallery.cards(connection, video.id, before=seconds, limit=NEARBY_FRAMES)
        after = gallery.cards(connection, video.id, after=seconds - EPSILON_SECONDS, limit=NEARBY_FRAMES + 1)
    cards = {card.id: card for card in [*before, *after]}.values()
    tiles = [tile_of(card, view) for card in cards]
    draw_gallery(tiles, name="around", is_tall=video.height > video.width)
