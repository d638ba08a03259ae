"""The quick pass protocol: labelled images in, answers with their cost out. Also its prompt.

A change of wording requires a new QUICK_PROMPT_VERSION. An image is paid for once per version: the same prompt is never
sent again for the same image.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from enrich.describe.describer import Call
from enrich.describe.prompt import MAX_CONTEXT_CHARACTERS

MIN_EXCITEMENT, MAX_EXCITEMENT = 0.0, 10.0
QUICK_PROMPT_VERSION = "quick-1"


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An upright JPEG with the label that identifies its answer: `F<frame id>`, unique within a video."""

    label: str
    jpeg: bytes
    timestamp: float  # seconds from the start of the stream


@dataclass(frozen=True, slots=True)
class QuickAnswer:
    """The quick pass's answer about one image."""

    description: str
    tags: tuple[str, ...]
    event_type: str
    excitement: float  # 0 to 10


@dataclass(frozen=True, slots=True)
class QuickResult:
    """The outcome for one image: an answer, or the reason there is none, for the user.

    `calls` are this image's shares of its requests, in order, for `analyses`: tokens and cost of all images of a
    request add up to the request's. `kept` is the index of the call with the answer, None without an answer.
    """

    label: str
    answer: QuickAnswer | None
    problem: str | None
    calls: tuple[Call, ...]
    kept: int | None = None


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """The estimated cost of describing images. `most_usd` is the upper bound."""

    images: int
    requests: int
    input_tokens: int
    output_tokens: int  # expected
    usd: float  # expected
    most_usd: float


@dataclass(frozen=True, slots=True)
class ReservedRequest:
    """The most that a request may cost is set aside, and its images are claimed. `id`: of a batch, its custom id."""

    id: str
    usd: float


class Payments(Protocol):
    """Sets money aside for the requests about one video, and records what they cost."""

    async def reserve(
        self, labels: Sequence[str], most_usd: float, *, retry_of: ReservedRequest | None = None
    ) -> ReservedRequest:
        """Set money aside for a request and claim its images; `retry_of`: the request after which its image is held.

        Raises BudgetError, or ImagesTakenError.
        """

    async def settle(
        self, reservation: ReservedRequest, results: Sequence[QuickResult], *, hold: Sequence[str]
    ) -> None:
        """Save the answers, record the cost and release the rest of the money. `hold`: images that stay claimed."""

    async def fail(self, reservation: ReservedRequest, error: BaseException) -> None:
        """Release the money, or, if the request may have been charged, record its highest price."""

    async def release(self, reservation: ReservedRequest) -> None:
        """Release the images that are still held."""


class QuickDescriber(Protocol):
    """Describes a few images of one video. One instance is used from one event loop."""

    name: str
    model: str
    prompt_version: str

    @property
    def recipient(self) -> str:
        """Who receives the images, as shown to the user; "" if they stay on this machine."""

    def parts(self, images: Sequence[LabelledImage]) -> list[tuple[LabelledImage, ...]]:
        """Split the images, in their order, into requests."""

    def estimate(self, images: Sequence[LabelledImage], *, context: str, language: str) -> CostEstimate:
        """Estimate the cost without sending anything."""

    async def ask(
        self, images: Sequence[LabelledImage], payments: Payments, *, context: str, language: str
    ) -> tuple[QuickResult, ...]:
        """Describe one part; a result for each image, in their order.

        A describer with a recipient reserves and settles each request through `payments`; the others ignore it. Raises
        DescribeError's subclasses if no image got a reply, and what `payments` raises.
        """

    async def close(self) -> None:
        """Close connections."""


def instructions(*, context: str, language: str, events: Sequence[str]) -> str:
    """The prompt: what to do with the images."""
    shortened = textwrap.shorten(context, MAX_CONTEXT_CHARACTERS, placeholder=" …")
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


def heading(image: LabelledImage) -> str:
    """The text before an image."""
    return f"Picture {image.label}, at {image.timestamp:.1f} s:"


def final_instruction(images: Sequence[LabelledImage]) -> str:
    """The text after the last image."""
    return f"Answer for {', '.join(image.label for image in images)}."
