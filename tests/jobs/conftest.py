"""The settings, the stand-in and the clip of `tests/control`."""

from tests.control.conftest import clip, environment_variables, settings, standin

__all__ = ["clip", "environment_variables", "settings", "standin"]
