"""Recordings that a camera cut into several files: which file is which chapter of which recording, by its name."""

import re
from dataclasses import dataclass
from pathlib import Path

# GoPro, HERO6 and later: GH (AVC) or GX (HEVC), chapter, number. Before: GOPR and number, then GP, chapter, number.
LATER = re.compile(r"(G[HX])(\d\d)(\d{4})", re.IGNORECASE)
FIRST_OF_EARLIER = re.compile(r"GOPR(\d{4})", re.IGNORECASE)
OTHERS_OF_EARLIER = re.compile(r"GP(\d\d)(\d{4})", re.IGNORECASE)


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
