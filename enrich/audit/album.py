"""The album: pairs of pictures in a folder the user can open, the kept one beside the one left out."""

import re
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from db.queries import VideoRow
from enrich.audit.pairs import LeftOut, Seen
from enrich.errors import SettingsError
from enrich.settings import Settings

LONGEST_NAME = 40


class Album:
    """One folder of pairs, made with the first picture; those that agree are taken out again."""

    def __init__(self, settings: Settings, video: VideoRow, now: datetime) -> None:
        title = re.sub(r"[^\w-]+", "-", video.title).strip("-")[:LONGEST_NAME] or str(video.id)
        name = f"{title}-{now.astimezone():%Y%m%d-%H%M%S}"
        every = (
            settings.home / "audits" / f"{name}{suffix}"
            for suffix in chain(("",), (f"-{number}" for number in count(2)))
        )
        self.folder = next(folder for folder in every if not folder.exists())

    def put(self, seen: Seen, other: LeftOut) -> tuple[Path, Path]:
        """Write a pair; the paths of the kept picture and of the one left out. Raises SettingsError."""
        name = f"{other.timestamp:010.3f}-frame-{other.index}"
        kept = self.folder / f"{name}-a-kept-as-frame-{seen.kept.index}.jpg"
        left = self.folder / f"{name}-b-left-out.jpg"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(seen.jpeg)
            left.write_bytes(other.jpeg)
        except OSError as error:
            raise SettingsError(f"{self.folder} cannot be written to ({error.strerror}): look at its disk") from error
        return kept, left

    def take_out(self, *pair: Path) -> None:
        """Delete a pair again, and the folder with the last one."""
        for path in pair:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
