"""The same environment as in `tests/control`."""

from tests.control.conftest import own_environment, settings, standin

__all__ = ["own_environment", "settings", "standin"]
