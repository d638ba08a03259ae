"""Which files are films by their names: what a scan of a folder, and whoever only lists one, goes by."""

from pathlib import Path

_SUFFIXES = """
    3g2 3gp asf avi divx dv f4v flv gif h264 h265 hevc insv m1v m2p m2t m2ts m2v m4v mjpeg mjpg mkv mod mov
    mp4 mpe mpeg mpg mts mxf nut ogm ogv qt rm rmvb tod ts vob webm wmv
"""
MEDIA_SUFFIXES = frozenset(f".{name}" for name in _SUFFIXES.split())


def is_media_name(path: Path | str) -> bool:
    """Whether the name ends like a video's."""
    return Path(path).suffix.lower() in MEDIA_SUFFIXES
