"""Which frames are kept, in plain words: the choice when films are added, and what was chosen for one.

The texts the command line understands (`distinct:normal`, `every=2s`) are made and read here, and nowhere shown.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

import streamlit as st

KEY = "sampling"
SHORTEST_SECONDS, USUAL_SECONDS, LONGEST_SECONDS = 0.1, 2.0, 3600.0


class Way(StrEnum):
    """The ways to choose frames, as people say it."""

    DISTINCT = "Every distinct picture"
    SCENES = "One picture a scene"
    EVERY = "At steady intervals"
    EXACT = "Every single frame"


class Eye(StrEnum):
    """How sharp-eyed the comparison is: the levels of likeness, as people say it; figures from docs/likeness.md."""

    NORMAL = "Usual: about one picture in nine"
    STRICT = "Sharp-eyed: smaller and shorter changes too, a third more pictures"
    LOOSE = "Generous: a third fewer pictures, may miss what is seen for under a second"


WAYS = {
    Way.DISTINCT: "Looks at every frame and keeps those with something new in them. Right for nearly all films.",
    Way.SCENES: "Keeps the first picture after each cut. Right for edited films you only want an overview of.",
    Way.EVERY: "Keeps a picture every so many seconds, whatever is to be seen.",
    Way.EXACT: "Keeps them all. Takes by far the longest and the most room; for short films that matter.",
}
LEVELS = {Eye.NORMAL: "normal", Eye.STRICT: "strict", Eye.LOOSE: "loose"}


@dataclass(frozen=True, slots=True)
class Choice:
    """A way to choose frames; `text` is what the command line calls it."""

    text: str


def choose(usual: str) -> Choice:
    """Draw the choice; `usual` is the level of likeness in the settings."""
    way = st.radio("Which pictures are looked at closely", [*Way], index=0, captions=list(WAYS.values()), key=KEY)
    if way is Way.DISTINCT:
        levels = {level: eye for eye, level in LEVELS.items()}
        first = [*Eye].index(levels.get(usual, Eye.NORMAL))
        eye = st.selectbox("What counts as something new", [*Eye], index=first, key=f"{KEY}-eye")
        return Choice(f"distinct:{LEVELS[eye]}")
    if way is Way.EVERY:
        seconds = st.number_input(
            "Seconds from one picture to the next",
            min_value=SHORTEST_SECONDS,
            max_value=LONGEST_SECONDS,
            value=USUAL_SECONDS,
            step=0.5,
            key=f"{KEY}-seconds",
        )
        return Choice(f"every={seconds:g}s")
    return Choice("scenes" if way is Way.SCENES else "exact")


def in_words(text: str) -> str:
    """What was chosen, from the text that is stored with a video."""
    name, _, level = text.partition(":")
    if name == "distinct":
        how = {"strict": ", sharp-eyed", "loose": ", generous"}.get(level, "")
        return f"{Way.DISTINCT.value}{how}"
    if every := re.fullmatch(r"every=(.+)s", text):
        return f"A picture every {every[1]} s"
    return {"scenes": Way.SCENES.value, "exact": Way.EXACT.value}.get(name, text)
