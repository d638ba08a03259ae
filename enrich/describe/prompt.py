"""The prompts of the deep pass, and the kinds of events that both passes know.

A change of wording requires a new PROMPT_VERSION. The list of events is extended by the setting `events`.
"""

import textwrap
from collections.abc import Iterable
from typing import Any, assert_never

from enrich.describe.describer import PromptStyle, Question

OTHER = "other"
EVENTS = (
    "preparation",
    "arrival",
    "ceremony",
    "vows",
    "speech",
    "toast",
    "first dance",
    "dancing",
    "cake",
    "meal",
    "party",
    "gifts",
    "group photo",
    "portrait",
    "conversation",
    "performance",
    "game",
    "sport",
    "play",
    "animals",
    "work",
    "travel",
    "sightseeing",
    "landscape",
    "farewell",
)
MAX_EVENT_CHARACTERS = 40


def normalize_event(text: str) -> str:
    """An event's name as it is stored: lower case, single spaces, no punctuation around it."""
    return (
        " ".join(text.lower().replace("_", " ").replace("-", " ").split())
        .strip(" .,;:\"'")[:MAX_EVENT_CHARACTERS]
        .rstrip()
    )


def known_events(more: Iterable[str] = ()) -> tuple[str, ...]:
    """All kinds of events in the order they are offered to a model: the user's own first, `other` last."""
    own = (normalize_event(name) for name in more)
    return tuple(dict.fromkeys([*(name for name in own if name and name != OTHER), *EVENTS, OTHER]))


def match_event(reply: str, events: Iterable[str]) -> str:
    """The kind of event a model chose; `other` if it was not offered."""
    name = normalize_event(reply)
    return name if name in set(events) else OTHER


PROMPT_VERSION = "2"
REQUEST_SUFFIX = "+request"  # marks the version of a prompt with the user's request, whose replies differ
MAX_REQUEST_CHARACTERS = 600
MAX_CONTEXT_CHARACTERS = 1_200  # leaves a small model's context window to the image and the reply

# The fields of a reply, in the order the model writes them: text first, so that a truncated reply still has it.
TEXT_FIELDS = ("people", "activity", "mood", "setting", "visible_text")
LIST_FIELDS = ("tags", "objects")
FIELDS = {
    "text": "one to four plain sentences that say what can be seen",
    "tags": "up to ten short search terms, lower case",
    "objects": "up to ten things that can be seen, lower case",
    "people": "how many people and what they look like, or null",
    "activity": "what is being done, or null",
    "mood": "the mood of the moment in one or two words, or null",
    "setting": "where it seems to be, such as kitchen or forest, or null",
    "visible_text": "writing that can be read in the picture, word for word, or null",
}


def reply_schema() -> dict[str, Any]:
    """The JSON schema of a reply: flat. All but the text may be null, because small models invent required values."""
    properties: dict[str, Any] = {"text": {"type": "string"}}
    for name in FIELDS:
        if name in LIST_FIELDS:
            properties[name] = {"type": ["array", "null"], "items": {"type": "string"}}
        elif name in TEXT_FIELDS:
            properties[name] = {"type": ["string", "null"]}
    return {"type": "object", "properties": properties, "required": list(FIELDS)}


def prompt_for(question: Question) -> str:
    """The prompt for the question's images, in its prompt style."""
    return "\n".join(
        part
        for part in (
            _task(question),
            _orientation(question),
            _scene(question),
            _request(question),
            _rules(question),
            _form(question),
        )
        if part
    )


def prompt_version(question: Question) -> str:
    """The version of a question's prompt."""
    return PROMPT_VERSION + REQUEST_SUFFIX if question.request else PROMPT_VERSION


def _task(question: Question) -> str:
    if len(question.images) == 1:
        return "Describe this picture, a single frame of a video."
    times = ", ".join(f"{image.timestamp:.1f} s" for image in question.images)
    return (
        f"These {len(question.images)} pictures are frames of one video, in order, taken at {times}. "
        "Describe what happens from the first to the last."
    )


def _orientation(question: Question) -> str:
    context = textwrap.shorten(question.context, MAX_CONTEXT_CHARACTERS, placeholder=" …")
    if not context or question.prompt_style is PromptStyle.WITHOUT_CONTEXT:
        return ""
    return (
        f'The owner says of the whole video: "{context}". This is for orientation only: it does not say what this '
        "frame shows."
    )


def _scene(question: Question) -> str:
    """The kind of event the quick pass chose for the scene. `other` is left out because it says nothing."""
    event = textwrap.shorten(question.event, MAX_EVENT_CHARACTERS, placeholder=" …")
    if not event or event == OTHER:
        return ""
    return (
        f'A quick look at this scene of the video took it for: "{event}". This too is for orientation only: describe '
        "in detail what this frame shows, all objects in it, and how the people and things in it relate."
    )


def _request(question: Question) -> str:
    request = textwrap.shorten(question.request, MAX_REQUEST_CHARACTERS, placeholder=" …")
    return (
        f'The owner asks besides: "{request}". Answer that within the text, as far as it can be seen.'
        if request
        else ""
    )


def _rules(question: Question) -> str:
    return (
        "Say only what can be seen. Do not name people, and do not guess who somebody is; names count only if "
        f"they can be read in the picture. Do not repeat these instructions. Write in {question.language}."
    )


def _form(question: Question) -> str:
    match question.prompt_style:
        case PromptStyle.STRUCTURED | PromptStyle.WITHOUT_CONTEXT:
            fields = "\n".join(f"- {name}: {meaning}" for name, meaning in FIELDS.items())
            return f"Answer with one JSON object and nothing else. Its fields:\n{fields}"
        case PromptStyle.PLAIN:
            return (
                "Answer in plain text: first one to four sentences, then one last line that begins with "
                '"Tags:" and lists up to ten short search terms, separated by commas.'
            )
        case _:
            assert_never(question.prompt_style)
