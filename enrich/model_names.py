"""Names of Ollama models: a name without a tag means the tag `latest`, and case does not matter."""


def full_name(name: str) -> str:
    """A model's name with its tag, as servers list it."""
    return name if ":" in name.rsplit("/", maxsplit=1)[-1] else f"{name}:latest"


def is_same_model(name: str, other: str) -> bool:
    """Whether two names mean the same model: `moondream` is `moondream:latest`."""
    return full_name(name).lower() == full_name(other).lower()
