"""The quick pass's values: labelled pictures in, answers with what each cost out, whoever gives them.

The words of the quick pass; whoever changes them counts QUICK_PROMPT_VERSION up.

A picture is paid for once a version: the same words for the same picture are never paid for again.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from enrich.describe.describer import Call
from enrich.describe.prompt import LONGEST_CONTEXT

DULL, THRILLING = 0.0, 10.0  # the ends of the scale of excitement
QUICK_PROMPT_VERSION = "quick-1"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """A JPEG, upright, with the label by which its answer is known; labels are unique within a video: `F<frame id>`."""

    label: str
    jpeg: bytes
    timestamp: float  # seconds from the start of the stream


@dataclass(frozen=True, slots=True)
class QuickAnswer:
    """What a quick look says of one picture."""

    description: str
    tags: tuple[str, ...]
    event_type: str
    excitement: float  # 0 to 10


@dataclass(frozen=True, slots=True)
class QuickResult:
    """What became of one picture: an answer, or the reason why there is none, in a sentence for the user.

    `calls` are its shares of the requests it was in, in order, for `analyses`: tokens and cost of all pictures of a
    request add up to the request's. `kept` says which of them brought the answer; without one it is None.
    """

    label: str
    answer: QuickAnswer | None
    problem: str | None
    calls: tuple[Call, ...]
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a look at pictures will take. `most_usd` is the cost if all goes as badly as it can."""

    pictures: int
    requests: int
    input_tokens: int
    output_tokens: int  # expected
    usd: float  # expected
    most_usd: float


class QuickDescriber(Protocol):
    """Looks at a few pictures of one video. One instance is used from one event loop."""

    name: str
    model: str
    prompt_version: str

    @property
    def recipient(self) -> str:
        """To whom pictures are sent, as the user is told; empty: they stay on this machine."""

    def parts(self, pictures: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """The pictures in their order, cut into what one request takes."""

    def estimate(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """What asking will cost, without asking anyone."""

    async def ask(self, pictures: Sequence[LabelledImage], *, context: str, language: str) -> tuple[QuickResult, ...]:
        """Ask about one part; an answer for each picture, in their order.

        Raises DescribeError's subclasses if nobody answered for any of them: then nothing was paid.
        """

    async def close(self) -> None:
        """Let go of connections."""


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


def heading(picture: LabelledImage) -> str:
    """What stands before a picture."""
    return f"Picture {picture.label}, at {picture.timestamp:.1f} s:"


def question(pictures: Sequence[LabelledImage]) -> str:
    """What stands after the last picture."""
    return f"Answer for {', '.join(picture.label for picture in pictures)}."
