"""The baseline describer: describes what can be measured in an image, without a model.

It reports light, colours, sharpness and detail, and with a `MotionHint` also motion and cuts. The text is English in
every language setting and starts with "Baseline, no model". It never counts as a model's description.
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
from enrich.describe.image import decode, unreadable_image
from enrich.errors import CallFailedError

LOCAL_HOST = "local"
BASELINE_VERSION = "baseline-1"
PREFIX = "Baseline, no model:"
MEASURED_EDGE_PIXELS = 256  # images are measured at this size

# Thresholds, set by eye on sixteen stills of real clips.
DARK, DIM, BRIGHT = 40.0, 85.0, 175.0  # mean luma, 0 to 255
COLOURLESS = 10.0  # mean spread between the channels, 0 to 255; black and white below it
WARM = 14.0  # mean red minus mean blue
BLURRED, SHARP = 25.0, 250.0  # variance of the Laplacian
PLAIN, BUSY = 4.0, 18.0  # mean luma step between neighbouring pixels
STILL, LIVELY = 0.5, 8.0  # motion, 0 to 255
MIN_COLOUR_SHARE = 0.15  # of the image; smaller colours are not named
MAX_COLOURS = 3

# Upper end of each colour's hue range, in degrees. Dark orange and yellow are called brown.
HUES = ((15, "red"), (42, "orange"), (68, "yellow"), (165, "green"), (195, "cyan"), (255, "blue"), (290, "purple"))
LAST_HUES = ((335, "pink"), (361, "red"))
FULL_LIGHT, PALE, PALE_RED, FAINT = 0.4, 0.35, 0.7, 0.12  # lightness, chroma, lightness, chroma; 0 to 1


@dataclass(frozen=True, slots=True)
class Measurements:
    """Measurements of one image."""

    luma: float
    colourfulness: float
    warmth: float
    sharpness: float
    steps: float
    colours: tuple[str, ...]  # largest share first


class BaselineDescriber:
    """Describes images in milliseconds, without a model and on this machine."""

    name = "baseline"
    model = "signals"
    target_pass = Pass.QUICK
    is_model = False
    hosts: tuple[str, ...] = (LOCAL_HOST,)

    async def check(self, host: str) -> None:
        """Do nothing: the baseline has no requirements."""

    async def prepare(self, host: str) -> HostReport:
        """Report that the baseline is ready."""
        return HostReport(host, self.model, BASELINE_VERSION, "The baseline needs no model and is always ready")

    async def describe(self, question: Question, *, host: str) -> Call:
        """Measure the first image. Raises CallFailedError if it cannot be decoded."""
        start = time.monotonic()
        image = question.images[0]
        try:
            measures = await asyncio.to_thread(measure, image.jpeg)
        except (ValueError, OSError) as error:
            raise CallFailedError(unreadable_image(error)) from error
        description = describe_measurements(measures, image.motion_hint)
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
        """Return the description that `describe` made. It has no warnings."""
        del question
        if not call.raw_reply:
            return None, (ReplyWarning(Problem.EMPTY),)
        fields: dict[str, Any] = json.loads(call.raw_reply)
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return Description(**(fields | lists)), ()

    async def unload(self, host: str) -> None:
        """Do nothing: no model is loaded."""

    async def close(self) -> None:
        """Do nothing: there are no connections."""


def measure(jpeg: bytes) -> Measurements:
    """Measure a JPEG. Raises ValueError if it cannot be decoded."""
    pixels = decode(jpeg, MEASURED_EDGE_PIXELS)
    factor = MEASURED_EDGE_PIXELS / max(pixels.shape[:2])
    if factor < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    luma = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    red, green, blue = (float(mean) for mean in pixels.reshape(-1, 3).mean(axis=0))
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    steps = np.abs(np.diff(luma.astype(np.int16), axis=1))
    return Measurements(
        luma=0.299 * red + 0.587 * green + 0.114 * blue,
        colourfulness=float(spread.mean()),
        warmth=red - blue,
        sharpness=float(np.asarray(cv2.Laplacian(luma, cv2.CV_64F)).var()),
        steps=float(steps.mean()) if steps.size else 0.0,
        colours=dominant_colours(pixels),
    )


def dominant_colours(pixels: NDArray[np.uint8]) -> tuple[str, ...]:
    """Plain names of the most frequent colours of a (height, width, RGB) image, largest share first."""
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
    names[colourless & (light > 0.8) | (light > 0.95)] = "white"  # noqa: PLR2004  # set by eye
    names[colourless & (light < 0.2) | (light < 0.08)] = "black"  # noqa: PLR2004  # set by eye
    found, counts = np.unique(names, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shares = [(str(found[place]), float(counts[place]) / names.size) for place in order]
    named = [name for name, share in shares if share >= MIN_COLOUR_SHARE] or [shares[0][0]]
    return tuple(named[:MAX_COLOURS])


def describe_measurements(measures: Measurements, motion_hint: MotionHint | None) -> Description:
    """Put the measurements into words."""
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
    text = f"{PREFIX} {article} {', '.join(qualities)} picture, mostly {' and '.join(colours)}."
    activity = _activity(motion_hint)
    if activity:
        text += f" {activity[0].upper()}{activity[1:]}."
    tags = [quality.replace("-", " ") for quality in qualities] + colours
    return Description(text=text, tags=tuple(dict.fromkeys(tags)), activity=activity)


def _light(luma: float) -> str:
    if luma < DARK:
        return "dark"
    if luma < DIM:
        return "dim"
    return "bright" if luma > BRIGHT else "evenly lit"


def _detail(measures: Measurements) -> list[str]:
    """Words for detail and sharpness. A plain image has no edges, so its sharpness means nothing."""
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


def _activity(motion_hint: MotionHint | None) -> str:
    if motion_hint is None:
        return ""
    if motion_hint.starts_scene:
        return "a new scene begins"
    if motion_hint.motion is None:
        return ""
    if motion_hint.motion < STILL:
        return "hardly anything moves"
    return "much moves" if motion_hint.motion > LIVELY else ""
