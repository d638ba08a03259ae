"""Which frames to keep of a video: the choice when adding videos, and the label of a video's choice.

The page shows labels; `distinct:normal` or `every=2s` is what the command line and the database use.
"""

import re
from enum import StrEnum

import streamlit as st

KEY = "sampling"
MIN_SECONDS, DEFAULT_SECONDS, MAX_SECONDS = 0.1, 2.0, 3600.0


class SamplingMethod(StrEnum):
    """The sampling methods, by their labels."""

    DISTINCT = "Distinct frames"
    SCENES = "One frame per scene"
    EVERY = "Fixed interval"
    EXACT = "Every frame"


class LikenessChoice(StrEnum):
    """The likeness levels of distinct frames, by their labels; the figures come from docs/likeness.md."""

    NORMAL = "Normal: keeps about one frame in nine"
    STRICT = "High: also keeps small and short changes, a third more frames"
    LOOSE = "Low: a third fewer frames, may miss things visible for less than a second"


EXPLANATIONS = {
    SamplingMethod.DISTINCT: "Keeps every frame that shows something new. Recommended for nearly all videos.",
    SamplingMethod.SCENES: "Keeps the first frame after each cut. Gives an overview of edited videos.",
    SamplingMethod.EVERY: "Keeps one frame every few seconds, whether or not anything changed.",
    SamplingMethod.EXACT: "Keeps all frames. Takes by far the most time and disk space; for short, important videos.",
}
LEVELS = {LikenessChoice.NORMAL: "normal", LikenessChoice.STRICT: "strict", LikenessChoice.LOOSE: "loose"}


def choose_sampling(default_level: str) -> str:
    """Draw the choice; the result is in the command line's notation. `default_level`: the likeness in the settings."""
    method = st.radio("Frames to describe", [*SamplingMethod], index=0, captions=list(EXPLANATIONS.values()), key=KEY)
    if method is SamplingMethod.DISTINCT:
        choices = {level: choice for choice, level in LEVELS.items()}
        index = [*LikenessChoice].index(choices.get(default_level, LikenessChoice.NORMAL))
        choice = st.selectbox("Sensitivity", [*LikenessChoice], index=index, key=f"{KEY}-sensitivity")
        return f"distinct:{LEVELS[choice]}"
    if method is SamplingMethod.EVERY:
        seconds = st.number_input(
            "Seconds between frames",
            min_value=MIN_SECONDS,
            max_value=MAX_SECONDS,
            value=DEFAULT_SECONDS,
            step=0.5,
            key=f"{KEY}-seconds",
        )
        return f"every={seconds:g}s"
    return "scenes" if method is SamplingMethod.SCENES else "exact"


def sampling_label(text: str) -> str:
    """The label of a video's stored sampling."""
    name, _, level = text.partition(":")
    if name == "distinct":
        sensitivity = {"strict": ", high sensitivity", "loose": ", low sensitivity"}.get(level, "")
        return f"{SamplingMethod.DISTINCT.value}{sensitivity}"
    if every := re.fullmatch(r"every=(.+)s", text):
        return f"One frame every {every[1]} s"
    return {"scenes": SamplingMethod.SCENES.value, "exact": SamplingMethod.EXACT.value}.get(name, text)
