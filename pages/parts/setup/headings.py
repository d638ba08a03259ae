"""The settings in plain words: what each is called on the page, what it does, and which belong together.

A setting that is not named here is shown under its own name with its description, so that none is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from enrich.settings_file import Preference


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together, in the order they are shown: each with its label and what it does."""

    title: str
    words: dict[str, tuple[str, str]]
    is_open: bool = False


GROUPS = (
    Group(
        "Descriptions",
        {
            "model": ("Model", "What Ollama calls it. The Models page compares those you have."),
            "language": ("Language of the descriptions", "Frames that are described already keep theirs."),
            "describer": (
                "What describes",
                "ollama: a model that sees. baseline: no model; it only measures light, colours and motion.",
            ),
            "allow_cloud": (
                "Allow models that run in a cloud",
                "Some of Ollama's models run elsewhere: your pictures would leave this machine.",
            ),
        },
        is_open=True,
    ),
    Group(
        "When it works",
        {
            "hours": (
                "Working hours",
                "Such as 22:00-07:00, several with commas between. Outside of them it waits, and the GPU is free.",
            ),
            "keep_awake": (
                "Keep the computer awake while there is work",
                "mains: only while it is plugged in. A closed lid cannot be prevented from putting it to sleep.",
            ),
            "disk_reserve_mb": ("Disk space that stays free, in MB", "Before less than this is free, work pauses."),
        },
    ),
    Group(
        "The quick look, and what it may cost",
        {
            "quick_describer": (
                "What looks at the key frames",
                "claude: fast, costs money, pictures leave this machine; you are asked first. ollama: a small model.",
            ),
            "quick_model": ("Its model", "Empty: Claude's cheapest, or moondream from Ollama."),
            "key_frames": ("Key frames of a film", "So many pictures are looked at, spread over the film."),
            "events": ("Kinds of events of your own", "With commas between; they are added to the list."),
            "monthly_budget_usd": ("Most US dollars in a month", "Nothing that could cost more is sent."),
            "power_watts": (
                "What this computer draws while it describes, in watts",
                "With the price of electricity, the costs page tells what a night costs.",
            ),
            "kwh_price": ("Price of a kilowatt hour, in your currency", "As your bill says."),
        },
    ),
    Group(
        "Pictures",
        {
            "likeness": (
                "How alike frames must be to be left out",
                "strict keeps more frames and takes longer, loose keeps fewer. It goes for films that are added later.",
            ),
            "stored_edge": (
                "Size of the stored pictures, long edge in pixels",
                "What the model and you see of a frame. Smaller saves disk; films that are read already keep theirs.",
            ),
            "jpeg_quality": ("Quality of the stored pictures", "30 to 100. Higher takes more disk."),
        },
    ),
    Group(
        "Ollama",
        {
            "ollama_hosts": ("Servers", "Addresses, with commas between. Every one of them describes frames."),
            "concurrency": ("Frames at once for each server", "More is faster only if the GPU has room for it."),
            "keep_alive": (
                "How long the model stays loaded after a call",
                "Such as 15m. Afterwards the GPU is free for other work.",
            ),
            "call_seconds": ("Longest wait for one description, in seconds", "Then the frame is tried again."),
            "load_seconds": ("Longest wait for the first one, in seconds", "It includes loading the model."),
            "connect_seconds": (
                "Longest wait for a server to answer at all, in seconds",
                "Then it counts as down, and is tried again later.",
            ),
        },
    ),
    Group(
        "For those who know the models",
        {
            "num_ctx": ("Context, in tokens", "Empty: what the kind of model needs."),
            "num_predict": ("Longest reply, in tokens", "A reply that is longer is cut off."),
            "picture_edges": (
                "Size of the pictures that models are sent",
                'Long edge in pixels by kind of model, such as {"llava": 672}. Empty: what each kind sees best.',
            ),
            "ollama_options": ("Further options for Ollama", 'Such as {"num_thread": 4}.'),
        },
    ),
    Group(
        "Where it is kept, and who may look",
        {
            "home": ("Data folder", "The database, the pictures, the logs, and these settings."),
            "database_url": ("Database", "Its address. Empty: a file in the data folder."),
            "dashboard_password": (
                "Password of this dashboard",
                "Without one, only this machine can reach the dashboard.",
            ),
        },
    ),
)


def grouped(preferences: Sequence[Preference]) -> list[tuple[Group, list[Preference]]]:
    """Every setting in its group; those of no group come last."""
    by_name = {one.name: one for one in preferences}
    found = [(group, [by_name.pop(name) for name in group.words if name in by_name]) for group in GROUPS]
    if by_name:
        words = {name: (name.replace("_", " "), one.description) for name, one in by_name.items()}
        found.append((Group("More", words), list(by_name.values())))
    return found
