"""The settings in plain words: what each is called on the page, and which belong together.

A setting that is not named here is shown under its own name, so that none is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from enrich.manage.preferences import Preference


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together: their names in the order they are shown, with their labels."""

    title: str
    labels: dict[str, str]
    is_open: bool = False


GROUPS = (
    Group(
        "Descriptions",
        {
            "model": "Model",
            "language": "Language of the descriptions",
            "describer": "What describes",
            "allow_cloud": "Allow models that run in a cloud",
        },
        is_open=True,
    ),
    Group(
        "When it works",
        {
            "hours": "Working hours",
            "keep_awake": "Keep the computer awake while there is work",
            "disk_reserve_mb": "Disk space that stays free, in MB",
        },
    ),
    Group(
        "The quick look, and what it may cost",
        {
            "quick_describer": "What looks at the key frames",
            "quick_model": "Its model",
            "key_frames": "Key frames of a film",
            "events": "Kinds of events of your own",
            "monthly_budget_usd": "Most US dollars in a month",
            "power_watts": "What this computer draws while it describes, in watts",
            "kwh_price": "Price of a kilowatt hour, in your currency",
        },
    ),
    Group(
        "Pictures",
        {
            "likeness": "How alike frames must be to be left out",
            "stored_edge": "Size of the stored pictures, long edge in pixels",
            "jpeg_quality": "Quality of the stored pictures, 30 to 100",
        },
    ),
    Group(
        "Ollama",
        {
            "ollama_hosts": "Servers",
            "concurrency": "Frames at once for each server",
            "keep_alive": "How long the model stays loaded after a call",
            "call_seconds": "Longest wait for one description, in seconds",
            "load_seconds": "Longest wait for the model to load, in seconds",
            "connect_seconds": "Longest wait for a server to answer at all, in seconds",
        },
    ),
    Group(
        "For those who know the models",
        {
            "num_ctx": "Context, in tokens",
            "num_predict": "Longest reply, in tokens",
            "picture_edges": "Size of the pictures that models are sent",
            "ollama_options": "Further options for Ollama",
        },
    ),
    Group(
        "Where it is kept, and who may look",
        {
            "home": "Data folder",
            "database_url": "Database",
            "dashboard_password": "Password of this dashboard",
        },
    ),
)


def grouped(preferences: Sequence[Preference]) -> list[tuple[Group, list[Preference]]]:
    """Every setting in its group; those of no group come last."""
    by_name = {one.name: one for one in preferences}
    found = [(group, [by_name.pop(name) for name in group.labels if name in by_name]) for group in GROUPS]
    if by_name:
        found.append((Group("More", {name: name.replace("_", " ") for name in by_name}), list(by_name.values())))
    return found
