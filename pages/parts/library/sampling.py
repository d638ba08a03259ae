"""Which frames are kept, in plain words: the choice when films are added, and what was chosen for one.

The texts the command line understands (`distinct:normal`, `every=2s`) are made and read here, and nowhere shown.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

import streamlit as st

KEY = "sampling"
SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 0.1, 2.0, 3600.0


class SamplingMethod(StrEnum):
    """The ways to choose frames, as people say it."""

    DISTINCT = "Every distinct picture"
    SCENES = "One picture a scene"
    EVERY = "At steady intervals"
    EXACT = "Every single frame"


class LikenessChoice(StrEnum):
    """How sharp-eyed the comparison is: the levels of likeness, as people say it; figures from docs/likeness.md."""

    NORMAL = "Usual: about one picture in nine"
    STRICT = "Sharp-eyed: smaller and shorter changes too, a third more pictures"
    LOOSE = "Generous: a third fewer pictures, may miss what is seen for under a second"


WAYS = {
    SamplingMethod.DISTINCT: "Keeps every frame that shows something new. Right for nearly all videos.",
    SamplingMethod.SCENES: "Keeps the first frame after each cut. For an overview of edited videos.",
    SamplingMethod.EVERY: "Keeps a picture every so many seconds, whatever is to be seen.",
    SamplingMethod.EXACT: "Keeps them all. Takes by far the longest and the most room; for short films that matter.",
}
LEVELS = {LikenessChoice.NORMAL: "normal", LikenessChoice.STRICT: "strict", LikenessChoice.LOOSE: "loose"}


@dataclass(frozen=True, slots=True)
class SamplingChoice:
    """A way to choose frames; `text` is what the command line calls it."""

    text: str


def choose(usual: str) -> SamplingChoice:
    """Draw the choice; `usual` is the level of likeness in the settings."""
    way = st.radio(
        "Which pictures are looked at closely", [*SamplingMethod], index=0, captions=list(WAYS.values()), key=KEY
    )
    if way is SamplingMethod.DISTINCT:
        levels = {level: eye for eye, level in LEVELS.items()}
        first = [*LikenessChoice].index(levels.get(usual, LikenessChoice.NORMAL))
        eye = st.selectbox("What counts as something new", [*LikenessChoice], index=first, key=f"{KEY}-eye")
        return SamplingChoice(f"distinct:{LEVELS[eye]}")
    if way is SamplingMethod.EVERY:
        seconds = st.number_input(
            "Seconds from one picture to the next",
            min_value=SHORTEST_SECONDS,
            max_value=LONGEST_SECONDS,
            value=USUAL_SECONDS,
            step=0.5,
            key=f"{KEY}-seconds",
        )
        return SamplingChoice(f"every={seconds:g}s")
    return SamplingChoice("scenes" if way is SamplingMethod.SCENES else "exact")


def in_words(text: str) -> str:
    """What was chosen, from the text that is stored with a video."""
    name, _, level = text.partition(":")
    if name == "distinct":
        how = {"strict": ", sharp-eyed", "loose": ", generous"}.get(level, "")
        return f"{SamplingMethod.DISTINCT.value}{how}"
    if every := re.fullmatch(r"every=(.+)s", text):
        return f"A picture every {every[1]} s"
    return {"scenes": SamplingMethod.SCENES.value, "exact": SamplingMethod.EXACT.value}.get(name, text)
