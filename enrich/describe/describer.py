"""The Describer protocol: what turns pictures into a description, whoever does it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Pass(StrEnum):
    """Which of a frame's columns a description belongs to."""

    QUICK = "quick"
    DEEP = "deep"


class Problem(StrEnum):
    """What can be wrong with a reply. Only EMPTY counts as a failed attempt; the others are kept as warnings."""

    EMPTY = "empty"
    CUT_OFF = "cut_off"
    NOT_JSON = "not_json"
    REPEATS = "repeats"
    LEAKS_PROMPT = "leaks_prompt"
    SAME_TEXT = "same_text"
    CONTEXT_NAME = "context_name"


class PromptStyle(StrEnum):
    """How a question is put: the usual way, or another way after a doubtful reply."""

    STRUCTURED = "structured"  # JSON by schema, temperature 0
    PLAIN = "plain"  # free text: for replies that were cut off, not JSON, or that repeat
    WITHOUT_CONTEXT = "without_context"  # structured, the context left out: for names taken from it


@dataclass(frozen=True, slots=True)
class ReplyWarning:
    """One doubt about a reply; `detail` names the doubtful words, where there are any."""

    problem: Problem
    detail: str = ""


@dataclass(frozen=True, slots=True)
class MotionHint:
    """What the frames around a picture say and the picture itself cannot; None where it was not measured."""

    motion: float | None = None  # mean change of luma since the frame before, 0 to 255
    starts_scene: bool | None = None  # it is the first frame after a cut


@dataclass(frozen=True, slots=True)
class Image:
    """A JPEG, upright, and its time in seconds from the start of the stream."""

    jpeg: bytes
    timestamp: float
    movement: MotionHint | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One or more pictures of one video, and what is known about them."""

    pictures: tuple[Image, ...]
    context: str = ""  # the user's free text about the video
    request: str = ""  # what somebody asks for besides, of these pictures alone
    event: str = ""  # the kind of event that a quick look saw in the scene
    language: str = "English"
    manner: PromptStyle = PromptStyle.STRUCTURED


@dataclass(frozen=True, slots=True)
class Description:
    """What a picture shows. `text` is one to four sentences; lists are short terms, lower case where there is one."""

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
    """One model call as it is booked in `analyses`. Seconds are wall-clock; tokens as the model's host counts."""

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
    """The description that is kept (None: the reply was empty), and every call made for it, in order."""

    description: Description | None
    calls: tuple[Call, ...]
    warnings: tuple[ReplyWarning, ...] = ()  # of the reply that is kept
    kept: int = 0  # which of `calls` brought what is kept
    unsure_names: tuple[str, ...] = field(default=())  # names known only from the context: kept out of the search


@dataclass(frozen=True, slots=True)
class HostReport:
    """What `prepare` found out about a host; `sentence` says it in plain words, with a remedy where one is needed."""

    host: str
    model: str
    model_digest: str
    sentence: str
    fits_gpu: bool | None = None  # None: no GPU is in use, or the host does not say
    loaded_bytes: int = 0  # what the loaded model takes
    gpu_bytes: int = 0  # how much of that lies in the GPU's memory
    calls_at_once: int | None = None  # at most this many have a point, whatever the settings say; None: no such limit


class Describer(Protocol):
    """Turns pictures into descriptions.

    A describer may serve several hosts; callers name one for each call, and decide how many calls run at once.
    One instance is used from one event loop.
    """

    name: str
    model: str
    fills: Pass
    can_err: bool  # False: it measures, so that the same words for different pictures are no doubt
    hosts: tuple[str, ...]

    async def check(self, host: str) -> None:
        """Check, without loading anything, that `host` answers and has the model. Raises as `prepare` does."""

    async def prepare(self, host: str) -> HostReport:
        """Check that `host` can describe, load the model (warm-up on a small test picture).

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError. Cheap when nothing
        is wrong and the model is loaded; also the way to find out whether a failing host is well again.
        """

    async def describe(self, question: Question, *, host: str) -> Call:
        """One call to the model; `raw_reply` is unchecked text, `warnings` what only the host knows (CUT_OFF).

        Raises HostDownError, HostBusyError, ModelError, CallTimeoutError or CallFailedError.
        """

    def read(self, question: Question, call: Call) -> tuple[Description | None, tuple[ReplyWarning, ...]]:
        """The description in a call's reply, and what is doubtful about it; None if there is no text at all."""

    async def unload(self, host: str) -> None:
        """Have `host` free the memory the model takes, as a pause wants it; the next call loads it again.

        Raises DescribeError's subclasses.
        """

    async def close(self) -> None:
        """Let go of connections."""
