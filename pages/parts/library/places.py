"""Where people keep films: their own folder with what is usual in it, and the drives of this machine."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

USUAL = ("Videos", "Movies", "Films", "Pictures", "Desktop", "Downloads", "Documents")
DRIVE_FOLDERS = ("/media", "/run/media", "/mnt", "/Volumes")  # where Linux and macOS show drives and shares


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to begin at, and what people call it."""

    name: str
    path: str


def places() -> list[Place]:
    """Home, its usual folders and the drives, which are not looked into: one that sleeps keeps nobody waiting."""
    home = Path.home()
    usual = [Place(name, str(home / name)) for name in USUAL if (home / name).is_dir()]
    return [Place("Home", str(home)), *usual, *drives()]


def drives() -> list[Place]:
    """The machine's drives and network shares, by the names people know them by."""
    if sys.platform == "win32":
        return [Place(part.mountpoint, part.mountpoint) for part in psutil.disk_partitions(all=True)]
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=True)}
    found = [Place(os.path.basename(path), path) for path in sorted(mounted) if _is_drive(path)]  # noqa: PTH119  # it is one
    return [Place("This computer", "/"), *found]


def _is_drive(mountpoint: str) -> bool:
    """Whether something is mounted there for people: at most one folder of the user's name below the usual ones."""
    for folder in DRIVE_FOLDERS:
        rest = mountpoint.removeprefix(f"{folder}/")
        if rest != mountpoint:
            return len(rest.split("/")) <= 2 and not rest.startswith(".")  # noqa: PLR2004  # user/drive
    return False
