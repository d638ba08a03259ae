"""Orphans: pictures below the frames folder that belong to no frame.

Only files that are named as extraction names them are looked at: whatever else lies there is somebody else's.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from db import checks
from db.engine import reading
from db.queries import VideoRow
from enrich.library.library import Library
from enrich.library.pictures import folder_name
from enrich.verify.findings import Kind, Ledger
from enrich.video.kept import FOLDER_SECONDS

MINUTE = re.compile(r"\d{5,}")
PICTURE = re.compile(r"-?\d{12,}\.jpg(\.part)?")
VIDEO_FOLDER = re.compile(r"\d+-[0-9a-f]*")


def check_orphans(library: Library, video: VideoRow, ledger: Ledger, *, mend: bool) -> None:
    """Look for pictures of a video that none of its frames names; `mend` deletes them."""
    folder = library.frames_folder / folder_name(video.fingerprint)
    for minute in _minutes(folder):
        number = int(minute.name)
        start = number * FOLDER_SECONDS if number else -math.inf
        with reading(library.engine) as connection:
            known = checks.picture_names(connection, video.id, start - 1, (number + 1) * FOLDER_SECONDS + 1)
        for file in _pictures(minute):
            name = f"{folder.name}/{minute.name}/{file.name}"
            if name not in known and not _is_named(library, video, name):
                _note(ledger, video, file, mend=mend)


def check_strangers(library: Library, ledger: Ledger, *, mend: bool) -> None:
    """Look for pictures of videos the library does not have; `mend` deletes them."""
    with reading(library.engine) as connection:
        known = {folder_name(fingerprint) for fingerprint in checks.fingerprints(connection)}
    if not library.frames_folder.is_dir():
        return
    for folder in sorted(library.frames_folder.iterdir()):
        if folder.name in known or not VIDEO_FOLDER.fullmatch(folder.name):
            continue
        for minute in _minutes(folder):
            for file in _pictures(minute):
                _note(ledger, None, file, mend=mend)
        if mend and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _is_named(library: Library, video: VideoRow, name: str) -> bool:
    """Whether a frame names it by now, or at another time than its own."""
    with reading(library.engine) as connection:
        return checks.has_picture(connection, video.id, name)


def _minutes(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(minute for minute in folder.iterdir() if minute.is_dir() and MINUTE.fullmatch(minute.name))


def _pictures(minute: Path) -> Iterator[Path]:
    """The pictures in a folder, listed before anything is done with them."""
    yield from sorted(file for file in minute.iterdir() if file.is_file() and PICTURE.fullmatch(file.name))


def _note(ledger: Ledger, video: VideoRow | None, file: Path, *, mend: bool) -> None:
    if mend:
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()
    ledger.note(Kind.ORPHAN, video, str(file), mended=mend)
