"""The environment of `tests/control`."""

from tests.control.conftest import environment_variables, settings, standin

__all__ = ["environment_variables", "settings", "standin"]
