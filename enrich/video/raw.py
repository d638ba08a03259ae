"""Raw formats of cinema cameras that FFmpeg cannot read: what they are, and what to do with them."""

from pathlib import Path

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


def raw_format(path: Path) -> str | None:
    """What the file is and what to do about it, if its name is that of a raw format; else None."""
    if path.suffix.lower() not in RAW_FORMATS:
        return None
    name, program = RAW_FORMATS[path.suffix.lower()]
    return (
        f"is {name}, a raw format that cannot be read here: export it as ProRes or H.264 with {program}, and add that"
    )
