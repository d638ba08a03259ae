"""Footage filmed with a logarithmic curve: it looks grey until it is graded, so descriptions of colours may suffer.

Known by what files say: their transfer characteristic, tags about the picture's look, and what Sony's cameras write
behind their films. Footage that says nothing is not guessed at: fog and shadows look the same.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from av.video.reformatter import ColorTrc

LOG_CURVES = (ColorTrc.LOG, ColorTrc.LOG_SQRT)
LOG_NAME = re.compile(
    r"\b(s-?log ?[23]?(?:-cine)?|v-?log ?l?|c-?log ?[23]?|canon ?log ?[23]?|d-?log(?:[ -]?m)?|n-?log|f-?log ?2?"
    r"|log-?c ?[34]?|l-?log|i-?log|apple ?log ?2?|gp-?log)\b",
    re.IGNORECASE,
)
ABOUT_LOOK = ("gamma", "transfer", "color", "colour", "curve", "profile", "picturestyle", "look", "logcurve")
SONY_BRANDS = ("xavc", "mss ")
SONY_TAIL_BYTES = 256 * 1024
SONY_GAMMA = re.compile(rb'CaptureGammaEquation"\s+value="([^"]{1,40})"')


def log_curve(path: Path, curve: int, tags: Mapping[str, str]) -> str | None:
    """The name of the logarithmic curve the file says it was filmed with, None if it says none."""
    for name, value in tags.items():
        is_about_look = any(word in re.sub("[^a-z]", "", name.lower()) for word in ABOUT_LOOK)
        if is_about_look and (found := LOG_NAME.search(value)):
            return found[1]
    if tags.get("major_brand", "").lower() in SONY_BRANDS:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - SONY_TAIL_BYTES))
            written = SONY_GAMMA.search(file.read())
        if written and (found := LOG_NAME.search(written[1].decode("ascii", "replace"))):
            return found[1]
    return "a log curve" if curve in LOG_CURVES else None
