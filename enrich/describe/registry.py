"""Which describer the settings ask for."""

from enrich.describe.describer import Describer
from enrich.errors import SettingsError
from enrich.settings import Settings


def make_describer(settings: Settings) -> Describer:
    """A new describer; whoever makes it closes it. Raises SettingsError for a name nobody answers to."""
    match settings.describer:
        case "ollama":
            from enrich.describe.ollama import OllamaDescriber

            return OllamaDescriber(settings)
        case "baseline":
            from enrich.describe.baseline import BaselineDescriber

            return BaselineDescriber()
        case unknown:
            raise SettingsError(f"EVERYFRAME_DESCRIBER: there is no describer `{unknown}`")
