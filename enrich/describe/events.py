"""The kinds of events the quick pass chooses from: a fixed list, extended by the setting `events`."""

from collections.abc import Iterable

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
