"""Which files are films by their names: what a scan of a folder, and whoever only lists one, goes by.

What lies among people's films and is none: previews, proxies, thumbnails, caches, trash. By name alone.

Raw formats of cinema cameras that FFmpeg cannot read: what they are, and what to do with them.

Recordings that a camera cut into several files: which file is which chapter of which recording, by its name.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

_SUFFIXES = """
    3g2 3gp asf avi divx dv f4v flv gif h264 h265 hevc insv m1v m2p m2t m2ts m2v m4v mjpeg mjpg mkv mod mov
    mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb tod ts vob webm wmv
"""
MEDIA_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())
CAMERA_EXTRAS = {
    ".lrv": "a camera's small preview",
    ".lrf": "a camera's small preview",
    ".thm": "a camera's thumbnail",
    ".glv": "a camera's small preview",
    ".dng": "a raw photo, or a frame of CinemaDNG: such a film is to be exported as ProRes or H.264 first",
}
FOLDERS = {
    "proxies": "proxies",
    "proxy": "proxies",
    "proxy media": "proxies",
    "proxymedia": "proxies",
    "transcoded media": "proxies",
    "optimized media": "an editor's cache",
    "optimizedmedia": "an editor's cache",
    "render files": "an editor's cache",
    "analysis files": "an editor's cache",
    "media cache": "an editor's cache",
    "media cache files": "an editor's cache",
    "cacheclip": "an editor's cache",
    "adobe premiere pro preview files": "an editor's cache",
    "adobe premiere pro video previews": "an editor's cache",
    "adobe premiere pro audio previews": "an editor's cache",
    "@eadir": "a network drive's thumbnails",
    "#recycle": "a trash can",
    "$recycle.bin": "a trash can",
    "recycler": "a trash can",
    "system volume information": "the system's own",
    "lost+found": "the system's own",
    "__macosx": "the system's own",
}
PREVIEW_NAME = re.compile(r"LRV_\d{8}_.+", re.IGNORECASE)  # Insta360's
PROXY_NAME = re.compile(r".+[_-]proxy", re.IGNORECASE)
SONY_PROXY = re.compile(r".+S\d\d", re.IGNORECASE)  # in a folder Sub: XAVC's proxies, C0001S03.MP4
HIDDEN = (
    (re.compile(r"\._"), "what macOS leaves beside files"),
    (re.compile(r"\.trashed-"), "deleted on the phone"),
    (re.compile(r"\.pending-"), "not finished on the phone"),
    (re.compile(r"\.trash"), "a trash can"),
    (re.compile(r"\."), "hidden"),
)
# Suffix: the format, and the program that turns it into a film.
RAW_FORMATS = {
    ".braw": ("Blackmagic RAW", "DaVinci Resolve"),
    ".r3d": ("RED's REDCODE RAW", "REDCINE-X PRO or DaVinci Resolve"),
    ".nev": ("Nikon's N-RAW", "DaVinci Resolve"),
    ".crm": ("Canon's Cinema RAW Light", "Cinema RAW Development or DaVinci Resolve"),
    ".rmf": ("Canon's Cinema RAW", "Cinema RAW Development"),
    ".ari": ("ARRIRAW", "ARRI Reference Tool or DaVinci Resolve"),
    ".arx": ("ARRIRAW", "ARRI Reference Tool or DaVinci Resolve"),
    ".mlv": ("Magic Lantern RAW", "MLV App"),
    ".dng": ("CinemaDNG, or a single raw photo", "DaVinci Resolve"),
}
# GoPro, HERO6 and later: GH (AVC) or GX (HEVC), chapter, number. Before: GOPR and number, then GP, chapter, number.
LATER = re.compile(r"(G[HX])(\d\d)(\d{4})", re.IGNORECASE)
FIRST_OF_EARLIER = re.compile(r"GOPR(\d{4})", re.IGNORECASE)
OTHERS_OF_EARLIER = re.compile(r"GP(\d\d)(\d{4})", re.IGNORECASE)


def is_media_name(path: Path | str) -> bool:
    """Whether the name ends like a video's."""
    return Path(path).suffix.lower() in MEDIA_SUFFIXES


def ignored_file(path: Path) -> str | None:
    """What a file found in a folder is instead of a film; None if it may be one, or is of no interest."""
    if path.name.startswith("."):
        return _hidden(path.name)
    extra = CAMERA_EXTRAS.get(path.suffix.lower())
    if extra is not None or not is_media_name(path):
        return extra
    if PREVIEW_NAME.fullmatch(path.stem):
        return "a camera's small preview"
    is_sony = path.parent.name.lower() == "sub" and SONY_PROXY.fullmatch(path.stem)
    return "a proxy" if is_sony or PROXY_NAME.fullmatch(path.stem) else None


def ignored_folder(name: str) -> str | None:
    """What a folder holds instead of films; None if it is to be searched."""
    return _hidden(name) if name.startswith(".") else FOLDERS.get(name.lower())


def holds_media(folder: Path) -> bool:
    """Whether there is anything with a film's name below a folder."""
    return any(is_media_name(name) for _, _, names in os.walk(folder) for name in names)


def _hidden(name: str) -> str:
    return next(reason for pattern, reason in HIDDEN if pattern.match(name.lower()))


def raw_format(path: Path) -> str | None:
    """What the file is and what to do about it, if its name is that of a raw format; else None."""
    if path.suffix.lower() not in RAW_FORMATS:
        return None
    name, program = RAW_FORMATS[path.suffix.lower()]
    return (
        f"is {name}, a raw format that cannot be read here: export it as ProRes or H.264 with {program}, and add that"
    )


@dataclass(frozen=True, slots=True)
class Chapter:
    """One file of a recording."""

    recording: str  # the same for all its chapters: their folder and what their names share
    number: int  # from 1


def chapter_of(path: Path) -> Chapter | None:
    """Which chapter a file is; None for files that are a recording by themselves, as far as their name says.

    Other cameras number the files of one take like those of several: only GoPro's names are certain.
    """
    if later := LATER.fullmatch(path.stem):
        kind, chapter, number = later.groups()
        return Chapter(str(path.with_name(f"{kind.upper()}*{number}")), int(chapter))
    if first := FIRST_OF_EARLIER.fullmatch(path.stem):
        return Chapter(str(path.with_name(f"GOPR{first[1]}")), 1)
    if other := OTHERS_OF_EARLIER.fullmatch(path.stem):
        return Chapter(str(path.with_name(f"GOPR{other[2]}")), int(other[1]) + 1)
    return None
