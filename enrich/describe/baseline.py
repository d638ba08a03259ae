"""The describer that needs no model: it says what can be measured in the picture, and calls itself the baseline.

Light, colours, sharpness, and how full the picture is; with what was measured around it (`MotionHint`) also motion
and cuts. It writes English whatever language is asked for. Nothing of it counts as described by a model.
"""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from enrich.describe.describer import Call, Description, HostReport, MotionHint, Pass, Problem, Question, ReplyWarning
from enrich.describe.image import decoded
from enrich.errors import CallFailedError

LOCAL = "local"
BASELINE_VERSION = "baseline-1"
OPENING = "Baseline, no model:"
MEASURED_EDGE = 256  # pixels: all that follows is measured at this size

# Thresholds, set by eye on sixteen stills of real clips; a measure beside one may fall on either side of it.
DARK, DIM, BRIGHT = 40.0, 85.0, 175.0  # mean luma, 0 to 255
COLOURLESS = 10.0  # mean distance of the channels, 0 to 255: below it a picture is black and white
WARM = 14.0  # mean red minus mean blue
BLURRED, SHARP = 25.0, 250.0  # variance of the Laplacian
PLAIN, BUSY = 4.0, 18.0  # mean luma step between neighbours
STILL, LIVELY = 0.5, 8.0  # motion, 0 to 255
SMALLEST_SHARE = 0.15  # of the picture, for a colour to be named
MOST_COLOURS = 3

# Hue in degrees at which each colour ends. Orange and yellow of little light are what people call brown.
HUES = ((15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (195, "cyan"), (255, "blue"), (290, "purple"))
LAST_HUES = ((335, "pink"), (361, "red"))
FULL_LIGHT, PALE, PALE_RED, FAINT = 0.4, 0.35, 0.7, 0.12  # lightness, chroma, lightness, chroma: 0 to 1


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured in one picture."""

    luma: float
    colourfulness: float
    warmth: float
    sharpness: float
    steps: float
    colours: tuple[str, ...]  # most of the picture first


class BaselineDescriber:
    """Describes without a model, on this machine, in milliseconds."""

    name = "baseline"
    model = "signals"
    fills = Pass.QUICK
    can_err = False
    hosts: tuple[str, ...] = (LOCAL,)

    async def check(self, host: str) -> None:
        """Nothing can be missing."""

    async def prepare(self, host: str) -> HostReport:
        """There is nothing to prepare."""
        return HostReport(host, self.model, BASELINE_VERSION, "The baseline needs no model and is always ready")

    async def describe(self, question: Question, *, host: str) -> Call:
        """Measure the first picture. Raises CallFailedError if it is no JPEG that can be decoded."""
        start = time.monotonic()
        picture = question.pictures[0]
        try:
            measures = await asyncio.to_thread(measured, picture.jpeg)
        except (ValueError, OSError) as error:
            raise CallFailedError(f"the stored picture is no JPEG that can be decoded: {error}") from error
        description = described(measures, picture.movement)
        return Call(
            describer=self.name,
            model=self.model,
            model_digest=BASELINE_VERSION,
            host=host,
            prompt_version=BASELINE_VERSION,
            latency_seconds=time.monotonic() - start,
            raw_reply=json.dumps(asdict(description)),
        )

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        """The description that `describe` made; there is never a doubt about it."""
        del question
        if not call.raw_reply:
            return None, (ReplyWarning(Problem.EMPTY),)
        fields: dict[str, Any] = json.loads(call.raw_reply)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Description(**(fields | lists)), ()

    async def unload(self, host: str) -> None:
        """Nothing is loaded."""

    async def close(self) -> None:
        """There is nothing to let go of."""


def measured(jpeg: bytes) -> Measures:
    """Measure a JPEG. Raises ValueError if it cannot be decoded."""
    pixels = decoded(jpeg, MEASURED_EDGE)
    factor = MEASURED_EDGE / max(pixels.shape[:2])
    if factor < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    red, green, blue = (float(mean) for mean in pixels.reshape(-1, 3).mean(axis=0))
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    steps = np.abs(np.diff(luma.astype(np.int16), axis=1))
    return Measures(
        luma=0.299 * red + 0.587 * green + 0.114 * blue,
        colourfulness=float(spread.mean()),
        warmth=red - blue,
        sharpness=float(np.asarray(cv2.Laplacian(luma, cv2.CV_64F)).var()),
        steps=float(steps.mean()) if steps.size else 0.0,
        colours=dominant_colours(pixels),
    )


def dominant_colours(pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Plain names of the colours that fill most of a (height, width, RGB) picture, the largest first."""
    small = np.asarray(cv2.resize(pixels, (48, 48), interpolation=cv2.INTER_AREA), np.float32) / 255
    hue, light, strength = np.moveaxis(np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2HLS)), 2, 0)
    chroma = small.max(axis=2) - small.min(axis=2)
    names = np.full(hue.shape, "grey", dtype="<U6")
    for end, name in reversed((*HUES, *LAST_HUES)):
        names[hue < end] = name
    earthy = np.isin(names, ("orange", "yellow"))
    names[earthy & (light < FULL_LIGHT)] = "brown"
    names[earthy & (light >= FULL_LIGHT) & (chroma < PALE)] = "beige"
    names[(names == "red") & (light > PALE_RED)] = "pink"
    colourless = (chroma < FAINT) | (strength < FAINT)
    names[colourless] = "grey"
    names[colourless & (light > 0.8) | (light > 0.95)] = "white"  # noqa: PLR2004  # where the eye calls it so
    names[colourless & (light < 0.2) | (light < 0.08)] = "black"  # noqa: PLR2004  # likewise
    found, counts = np.unique(names, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = [(str(found[place]), float(counts[place]) / names.size) for place in order]
    named = [name for name, share in shares if share >= SMALLEST_SHARE] or [shares[0][0]]
    return tuple(named[:MOST_COLOURS])


def described(measures: Measures, movement: MotionHint | None) -> Description:
    """What the measures say, in words."""
    light = _light(measures.luma)
    colourless = measures.colourfulness < COLOURLESS
    qualities = [light]
    if colourless:
        qualities.append("black-and-white")
    elif abs(measures.warmth) > WARM:
        qualities.append("warm" if measures.warmth > 0 else "cold")
    qualities += _detail(measures)
    colours = list(measures.colours)
    article = "an" if qualities[0][0] in "aeiou" else "a"
    text = f"{OPENING} {article} {', '.join(qualities)} picture, mostly {' and '.join(colours)}."
    moving = _moving(movement)
    if moving:
        text += f" {moving[0].upper()}{moving[1:]}."
    tags = [quality.replace("-", " ") for quality in qualities] + colours
    return Description(text=text, tags=tuple(dict.fromkeys(tags)), activity=moving)


def _light(luma: float) -> str:
    if luma < DARK:
        return "dark"
    if luma < DIM:
        return "dim"
    return "bright" if luma > BRIGHT else "evenly lit"


def _detail(measures: Measures) -> list[str]:
    """Plain pictures have no edges that could be sharp: nothing is said of them."""
    if measures.steps < PLAIN:
        return ["plain"]
    detail = []
    if measures.sharpness < BLURRED:
        detail.append("blurred")
    elif measures.sharpness > SHARP:
        detail.append("sharp")
    if measures.steps > BUSY:
        detail.append("busy")
    return detail


def _moving(movement: MotionHint | None) -> str:
    if movement is None:
        return ""
    said = []
    if movement.starts_scene:
        said.append("a new scene begins")
    if movement.motion is not None and not movement.starts_scene:
        if movement.motion < STILL:
            said.append("hardly anything moves")
        elif movement.motion > LIVELY:
            said.append("much moves")
    return ", ".join(said)
