"""Which describer the settings ask for."""

import asyncio
from collections.abc import Callable

from enrich.describe.describer import Describer
from enrich.describe.quick.protocol import QuickDescriber
from enrich.errors import SettingsError
from enrich.settings import Settings


def make_describer(settings: Settings) -> Describer:
    """A new describer; whoever makes it closes it. Raises SettingsError for a name nobody answers to."""
    match settings.describer:
        case "ollama":
            from enrich.describe.ollama.describer import OllamaDescriber

            return OllamaDescriber(settings)
        case "baseline":
            from enrich.describe.baseline import BaselineDescriber

            return BaselineDescriber()
        case unknown:
            raise SettingsError(f"EVERYFRAME_DESCRIBER: there is no describer `{unknown}`")


def make_quick_describer(
    settings: Settings,
    describer: str | None = None,
    model: str | None = None,
    *,
    told: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> QuickDescriber:
    """A new describer for the quick pass; whoever makes it closes it. `told` hears of waits, which `stop` ends.

    Raises SettingsError for a name nobody answers to, or a model without a price.
    """
    match describer or settings.quick_describer:
        case "claude":
            from enrich.describe.claude.describer import ClaudeQuick

            return ClaudeQuick(settings, model=model or "", told=told, stop=stop)
        case "ollama":
            from enrich.describe.quick.local import OllamaQuick

            return OllamaQuick(settings, model=model or "")
        case "baseline":
            from enrich.describe.quick.local import BaselineQuick

            return BaselineQuick()
        case unknown:
            raise SettingsError(f"EVERYFRAME_QUICK_DESCRIBER: there is no describer `{unknown}`")
