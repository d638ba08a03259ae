"""The words of the quick pass; whoever changes them counts QUICK_PROMPT_VERSION up.

A picture is paid for once a version: the same words for the same picture are never paid for again.
"""

import textwrap
from collections.abc import Sequence

from enrich.describe.prompt import LONGEST_CONTEXT
from enrich.describe.quick.protocol import Labelled

QUICK_PROMPT_VERSION = "quick-1"


def instructions(*, context: str, language: str, events: Sequence[str]) -> str:
    """What to do with the pictures, and how."""
    shortened = textwrap.shorten(context, LONGEST_CONTEXT, placeholder=" …")
    orientation = (
        f'The owner says of the whole video: "{shortened}". This is for orientation only: it does not say what any '
        "one picture shows."
        if shortened
        else ""
    )
    parts = (
        (
            "You are shown single frames of one private video, each after its label. Answer for every label exactly "
            "once, and say of each picture only what that picture shows."
        ),
        orientation,
        (
            "Say only what can be seen. Do not name people, and do not guess who somebody is; names count only if they "
            f"can be read in the picture. Write descriptions and tags in {language}."
        ),
        "For each picture give:\n"
        "- label: its label, as it stands before the picture\n"
        "- description: one or two plain sentences that say what can be seen\n"
        "- tags: three to eight short search terms, lower case\n"
        "- event_type: the kind of event that fits best, one of: " + ", ".join(events) + "\n"
        "- excitement: a whole number from 0 (nothing happens) to 10 (the moment everybody will want to see again)",
    )
    return "\n\n".join(part for part in parts if part)


def heading(picture: Labelled) -> str:
    """What stands before a picture."""
    return f"Picture {picture.label}, at {picture.timestamp:.1f} s:"


def question(pictures: Sequence[Labelled]) -> str:
    """What stands after the last picture."""
    return f"Answer for {', '.join(picture.label for picture in pictures)}."
