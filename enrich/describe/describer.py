"""The Describer protocol (images and a question in, a description out) and the values it works with."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Pass(StrEnum):
    """The pass whose frame columns a description is stored in."""

    QUICK = "quick"
    DEEP = "deep"


class Problem(StrEnum):
    """What can be wrong with a reply. Only EMPTY counts as a failed attempt; the others are stored as warnings."""

    EMPTY = "empty"
    CUT_OFF = "cut_off"
    NOT_JSON = "not_json"
    REPEATS = "repeats"
    LEAKS_PROMPT = "leaks_prompt"
    SAME_TEXT = "same_text"
    CONTEXT_NAME = "context_name"


class PromptStyle(StrEnum):
    """How a prompt is worded: the usual way, or another way to retry after a flagged reply."""

    STRUCTURED = "structured"  # JSON with a schema, temperature 0
    PLAIN = "plain"  # free text; retries replies that were cut off, repetitive or not JSON
    WITHOUT_CONTEXT = "without_context"  # structured, without the context; retries replies that took names from it


@dataclass(frozen=True, slots=True)
class ReplyWarning:
    """One problem of a reply; `detail` holds the affected words, if any."""

    problem: Problem
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MotionHint:
    """What the neighbouring frames tell about an image; None where it was not measured."""

    motion: float | None = None  # mean change of luma since the previous frame, 0 to 255
    starts_scene: bool | None = None  # the first frame after a cut


@dataclass(frozen=True, slots=True)
class Image:
    """An upright JPEG and its time in seconds from the start of the stream."""

    jpeg: bytes
    timestamp: float
    motion_hint: MotionHint | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One or more images of one video, and what is known about them."""

    images: tuple[Image, ...]
    context: str = ""  # the user's free text about the video
    request: str = ""  # the user's additional request about these images only
    event: str = ""  # the scene's kind of event according to the quick pass
    language: str = "English"
    prompt_style: PromptStyle = PromptStyle.STRUCTURED


@dataclass(frozen=True, slots=True)
class Description:
    """What an image shows. `text` has one to four sentences; lists hold short terms in lower case."""

    text: str
    tags: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    people: str = ""
    activity: str = ""
    mood: str = ""
    setting: str = ""
    visible_text: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One model call, as recorded in `analyses`. Seconds are wall-clock; tokens are counted by the model's host."""

    describer: str
    model: str
    model_digest: str
    host: str
    prompt_version: str
    latency_seconds: float
    load_seconds: float = 0.0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float = 0.0
    raw_reply: str = ""
    warnings: tuple[ReplyWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The chosen description (None: the reply was empty) and every call made for it, in order."""

    description: Description | None
    calls: tuple[Call, ...]
    warnings: tuple[ReplyWarning, ...] = ()  # of the chosen reply
    kept: int = 0  # index of the chosen reply in `calls`
    unverified_names: tuple[str, ...] = field(default=())  # found only in the context; not indexed for search


@dataclass(frozen=True, slots=True)
class HostReport:
    """What `prepare` found out about a host; `sentence` is its summary for the user, with a fix if one is needed."""

    host: str
    model: str
    model_digest: str
    sentence: str
    fits_gpu: bool | None = None  # None: no GPU is used, or the host does not report it
    calls_at_once: int | None = None  # more concurrent calls than this bring nothing; None: no such limit


class Describer(Protocol):
    """Turns images into descriptions.

    A describer may use several hosts. The caller names the host of each call and limits the calls in flight.
    One instance is used from one event loop.
    """

    name: str
    model: str
    target_pass: Pass
    is_model: bool  # False: it only measures, so equal texts for different images are no sign of a fault
    hosts: tuple[str, ...]

    async def check(self, host: str) -> None:
        """Check that `host` responds and has the model, without loading it. Raises the errors of `prepare`."""

    async def prepare(self, host: str) -> HostReport:
        """Check that `host` can describe, and load the model by describing a small test image.

        Cheap if the model is loaded already. Also used to find out whether a failed host has recovered.
        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """

    async def describe(self, question: Question, *, host: str) -> Call:
        """Make one call to the model. `raw_reply` is unchecked; `warnings` holds what only the host knows (CUT_OFF).

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        """Parse a call's reply into a description (None: it has no text) and its warnings."""

    async def unload(self, host: str) -> None:
        """Free the memory `host` uses for the model, for example when pausing. The next call loads it again.

        Raises DescribeError's subclasses.
        """

    async def close(self) -> None:
        """Close connections."""
