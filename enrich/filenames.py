"""What a file or folder name says about its content: video suffixes, ignored files, raw formats, recording chapters.

Names only: nothing here opens a file. A file that passes may still turn out not to be a video.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

# Video files

_SUFFIXES = """
    264 265 266 3g2 3gp 3gpp 360 amv asf av1 avc avi dav divx dv dvr-ms evo f4v flv gif gxf h264 h265 h266 hevc insv
    ivf ivr jpv k3g kux m1v m2p m2t m2ts m2v m4v mj2 mjpeg mjpg mk3d mkv mod mov mp2v mp4 mp4v mpe mpeg mpg mpv mqv mts
    mxf mxg nsv nut nuv obu ogm ogv osv pva qt rm rmvb skm ssif tod tp trec trp ts ty vc1 viv vob vro vvc webm wm wmv
    wtv xvid y4m
"""
MEDIA_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())


def is_media_name(path: Path | str) -> bool:
    """Whether the name has a video suffix."""
    return Path(path).suffix.lower() in MEDIA_SUFFIXES


def holds_media(folder: Path) -> bool:
    """Whether any file below the folder has a video suffix."""
    return any(is_media_name(name) for _, _, names in os.walk(folder) for name in names)


# Ignored files: what `add` skips in a folder, and why

IGNORED_SUFFIXES = {
    ".lrv": "camera preview",
    ".lrf": "camera preview",
    ".thm": "camera thumbnail",
    ".glv": "camera preview",
    ".dng": "raw photo or CinemaDNG frame; export CinemaDNG as ProRes or H.264 first",
}
IGNORED_FOLDERS = {
    "proxies": "proxies",
    "proxy": "proxies",
    "proxy media": "proxies",
    "proxymedia": "proxies",
    "transcoded media": "proxies",
    "optimized media": "editor cache",
    "optimizedmedia": "editor cache",
    "render files": "editor cache",
    "analysis files": "editor cache",
    "media cache": "editor cache",
    "media cache files": "editor cache",
    "cacheclip": "editor cache",
    "adobe premiere pro preview files": "editor cache",
    "adobe premiere pro video previews": "editor cache",
    "adobe premiere pro audio previews": "editor cache",
    "@eadir": "network drive thumbnails",
    "#recycle": "trash",
    "$recycle.bin": "trash",
    "recycler": "trash",
    "system volume information": "system files",
    "lost+found": "system files",
    "__macosx": "system files",
}
HIDDEN_NAMES = (  # the first match wins
    (re.compile(r"\._"), "macOS metadata"),
    (re.compile(r"\.trashed-"), "deleted on the phone"),
    (re.compile(r"\.pending-"), "unfinished on the phone"),
    (re.compile(r"\.trash"), "trash"),
    (re.compile(r"\."), "hidden"),
)
_PREVIEW_NAME = re.compile(r"LRV_\d{8}_.+", re.IGNORECASE)  # Insta360
_PROXY_NAME = re.compile(r".+[_-]proxy", re.IGNORECASE)
_SONY_PROXY_NAME = re.compile(r".+S\d\d", re.IGNORECASE)  # XAVC proxies in a folder named Sub: C0001S03.MP4


def ignored_file(path: Path) -> str | None:
    """Why `add` skips this file; None if it may be a video, or is too unlike one to mention."""
    if path.name.startswith("."):
        return _hidden(path.name)
    reason = IGNORED_SUFFIXES.get(path.suffix.lower())
    if reason is not None or not is_media_name(path):
        return reason
    if _PREVIEW_NAME.fullmatch(path.stem):
        return "camera preview"
    is_sony_proxy = path.parent.name.lower() == "sub" and _SONY_PROXY_NAME.fullmatch(path.stem)
    return "proxy" if is_sony_proxy or _PROXY_NAME.fullmatch(path.stem) else None


def ignored_folder(name: str) -> str | None:
    """Why `add` skips a folder with this name; None if it searches it."""
    return _hidden(name) if name.startswith(".") else IGNORED_FOLDERS.get(name.lower())


def _hidden(name: str) -> str:
    return next(reason for pattern, reason in HIDDEN_NAMES if pattern.match(name.lower()))


# Raw formats of cinema cameras, which FFmpeg cannot decode

# Suffix: the format, and the programs that can export it.
RAW_FORMATS = {
    ".braw": ("Blackmagic RAW", "DaVinci Resolve"),
    ".r3d": ("REDCODE RAW", "REDCINE-X PRO or DaVinci Resolve"),
    ".nev": ("Nikon N-RAW", "DaVinci Resolve"),
    ".crm": ("Canon Cinema RAW Light", "Cinema RAW Development or DaVinci Resolve"),
    ".rmf": ("Canon Cinema RAW", "Cinema RAW Development"),
    ".ari": ("ARRIRAW", "ARRI Reference Tool or DaVinci Resolve"),
    ".arx": ("ARRIRAW", "ARRI Reference Tool or DaVinci Resolve"),
    ".mlv": ("Magic Lantern RAW", "MLV App"),
    ".dng": ("CinemaDNG or a single raw photo", "DaVinci Resolve"),
}


def raw_format(path: Path) -> str | None:
    """What to tell the user about a raw file, as a predicate (`is …, which …`); None for any other suffix."""
    if path.suffix.lower() not in RAW_FORMATS:
        return None
    name, program = RAW_FORMATS[path.suffix.lower()]
    return f"is {name}, which EveryFrame cannot read: export it as ProRes or H.264 with {program} and add the export"


# Recordings that a camera splits into several files

# GoPro HERO6 and later: GH (AVC) or GX (HEVC), chapter, number. Earlier: GOPR and number, then GP, chapter, number.
_HERO6_CHAPTER = re.compile(r"(G[HX])(\d\d)(\d{4})", re.IGNORECASE)
_EARLY_FIRST_CHAPTER = re.compile(r"GOPR(\d{4})", re.IGNORECASE)
_EARLY_NEXT_CHAPTER = re.compile(r"GP(\d\d)(\d{4})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Chapter:
    """One file of a recording."""

    recording: str  # the same for all chapters: their folder, and the part of the name they share
    number: int  # from 1


def chapter_of(path: Path) -> Chapter | None:
    """The chapter that a file name stands for; None if the file is not part of a split recording.

    Only GoPro names are unambiguous: other cameras number the files of one take like separate takes.
    """
    if match := _HERO6_CHAPTER.fullmatch(path.stem):
        kind, chapter, number = match.groups()
        return Chapter(str(path.with_name(f"{kind.upper()}*{number}")), int(chapter))
    if match := _EARLY_FIRST_CHAPTER.fullmatch(path.stem):
        return Chapter(str(path.with_name(f"GOPR{match[1]}")), 1)
    if match := _EARLY_NEXT_CHAPTER.fullmatch(path.stem):
        return Chapter(str(path.with_name(f"GOPR{match[2]}")), int(match[1]) + 1)
    return None
