"""The film itself, at a moment; and where a browser cannot play it, pictures of that moment instead.

What browsers play, by the file's ending and how its pictures are coded. Sources: caniuse.com and MDN's guides to
containers and codecs, as of 2026. Sound is not looked at: a film whose sound is not understood plays without it.
"""

from enum import StrEnum
from pathlib import PurePath
from typing import assert_never

import streamlit as st

from db import gallery
from db.queries import VideoRow
from enrich.library.media import video_file
from enrich.wording import clock
from pages.parts.gallery import gallery as draw_gallery
from pages.parts.gallery import tile_of
from pages.parts.plain import plain, shown
from pages.parts.session import engine, reading
from pages.parts.view import HAIR_SECONDS, PAGE, View, video_url

AROUND = 4  # kept frames shown on each side of the moment


class Plays(StrEnum):
    """Whether browsers play a film."""

    YES = "yes"
    SOME = "some"  # some browsers, or with this machine's graphics only
    NO = "no"


MP4 = {"h264": Plays.YES, "vp9": Plays.YES, "av1": Plays.YES, "hevc": Plays.SOME}
CODECS = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": {"h264": Plays.YES, "hevc": Plays.SOME},
    ".webm": {"vp8": Plays.YES, "vp9": Plays.YES, "av1": Plays.YES},
    ".mkv": dict.fromkeys(("h264", "hevc", "vp8", "vp9", "av1"), Plays.SOME),  # Chrome and Edge, not the others
}
SAME_CODEC = {"libdav1d": "av1", "libaom-av1": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}  # decoders' own names


def plays(path: str, codec: str) -> Plays:
    """Whether browsers play a file of this ending and codec."""
    return CODECS.get(PurePath(path).suffix.lower(), {}).get(SAME_CODEC.get(codec, codec), Plays.NO)


def player(video: VideoRow, view: View, seconds: float) -> None:
    """The film from this moment on, or why not and pictures around it."""
    if video_file(engine(), video.id) is None:
        video_is_missing(video)
        around(video, view, seconds)
        return
    can = plays(video.path, video.codec)
    kind = plain(f"{PurePath(video.path).suffix or 'no ending'}, {video.codec}")
    match can:
        case Plays.NO:
            st.info(f"Browsers cannot play this kind of film ({kind}). These are the kept pictures around the moment:")
            around(video, view, seconds)
        case Plays.YES | Plays.SOME:
            st.video(
                video_url(video.id),
                start_time=max(0, int(seconds)),
                autoplay=True,
                alt=f"The film {shown(video.title)}, from {clock(seconds)} on",
            )
            if can is Plays.SOME:
                st.caption(
                    f"Some browsers cannot play this kind of film ({kind}). The kept pictures around the moment:"
                )
                around(video, view, seconds)
        case _:
            assert_never(can)


def video_is_missing(video: VideoRow) -> None:
    """Where the film should lie, and what to do."""
    st.warning("The film's file is not where it was, or another film lies there now. It was last here:")
    st.text(shown(video.path))
    st.caption("Connect its drive or put it back; if it has moved, say where to on the Library page.")


def no_such_source(video: VideoRow, view: View, error: Exception) -> None:
    """A frame of the film that cannot be decoded: why, and the way back."""
    if video_file(engine(), video.id) is None:
        video_is_missing(video)
    else:
        st.warning("This frame of the film cannot be shown:")
        st.text(shown(error))
    st.page_link(PAGE, label=f"The kept frames of {plain(video.title)}", query_params=view.gallery().query())


def around(video: VideoRow, view: View, seconds: float) -> None:
    """The kept frames before and after a moment, each leading to its frame."""
    with reading() as connection:
        before = gallery.cards(connection, video.id, before=seconds, limit=AROUND)
        after = gallery.cards(connection, video.id, after=seconds - HAIR_SECONDS, limit=AROUND + 1)
    cards = {card.id: card for card in [*before, *after]}.values()
    tiles = [tile_of(card, view) for card in cards]
    draw_gallery(tiles, name="around", is_tall=video.height > video.width)
