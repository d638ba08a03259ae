"""What lies among people's films and is none: previews, proxies, thumbnails, caches, trash. By name alone."""

import os
import re
from pathlib import Path

from enrich.filenames import is_media_name

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


def clutter_file(path: Path) -> str | None:
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


def clutter_folder(name: str) -> str | None:
    """What a folder holds instead of films; None if it is to be searched."""
    return _hidden(name) if name.startswith(".") else FOLDERS.get(name.lower())


def holds_media(folder: Path) -> bool:
    """Whether there is anything with a film's name below a folder."""
    return any(is_media_name(name) for _, _, names in os.walk(folder) for name in names)


def _hidden(name: str) -> str:
    return next(reason for pattern, reason in HIDDEN if pattern.match(name.lower()))
