"""Creates the describers that the settings name."""

import asyncio
from collections.abc import Callable

from enrich.describe.describer import Describer
from enrich.describe.quick.protocol import QuickDescriber
from enrich.errors import SettingsError
from enrich.settings import DESCRIBERS, QUICK_DESCRIBERS, Settings


def make_describer(settings: Settings) -> Describer:
    """Create the deep pass's describer. The caller closes it. Raises SettingsError for an unknown name."""
    match settings.describer:
        case "ollama":
            from enrich.describe.ollama.describer import OllamaDescriber

            return OllamaDescriber(settings)
        case "baseline":
            from enrich.describe.baseline import BaselineDescriber

            return BaselineDescriber()
        case unknown:
            choices = ", ".join(DESCRIBERS)
            raise SettingsError(f"EVERYFRAME_DESCRIBER: unknown describer `{unknown}`: use one of {choices}")


def make_quick_describer(
    settings: Settings,
    describer: str | None = None,
    model: str | None = None,
    *,
    on_wait: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> QuickDescriber:
    """Create a quick pass describer. The caller closes it.

    `on_wait` is called with a sentence on every backoff; setting `stop` ends it. Raises SettingsError for an unknown
    name or a model without a price.
    """
    match describer or settings.quick_describer:
        case "claude":
            from enrich.describe.claude.describer import ClaudeQuick

            return ClaudeQuick(settings, model=model or "", on_wait=on_wait, stop=stop)
        case "ollama":
            from enrich.describe.quick.local import OllamaQuick

            return OllamaQuick(settings, model=model or "")
        case "baseline":
            from enrich.describe.quick.local import BaselineQuick

            return BaselineQuick()
        case unknown:
            choices = ", ".join(QUICK_DESCRIBERS)
            raise SettingsError(f"EVERYFRAME_QUICK_DESCRIBER: unknown describer `{unknown}`: use one of {choices}")
