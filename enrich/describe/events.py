"""The kinds of events a quick look tells apart: one list, which the setting `events` extends."""

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
LONGEST_EVENT = 40  # characters


def normal_event(text: str) -> str:
    """An event's name as it is stored: lower case, single spaces, no stray marks."""
    return " ".join(text.lower().replace("_", " ").replace("-", " ").split()).strip(" .,;:\"'")[:LONGEST_EVENT].rstrip()


def known_events(more: Iterable[str] = ()) -> tuple[str, ...]:
    """All kinds of events in the order they are offered: the user's own first, `other` last."""
    own = (normal_event(name) for name in more)
    return tuple(dict.fromkeys([*(name for name in own if name and name != OTHER), *EVENTS, OTHER]))


def event_of(said: str, events: Iterable[str]) -> str:
    """The kind of event a model meant; `other` if it is none that was offered."""
    name = normal_event(said)
    return name if name in set(events) else OTHER
