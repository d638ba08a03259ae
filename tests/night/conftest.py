"""The library and the stand-in of `tests/control`, and workers that are killed at the end of a test."""

from collections.abc import Iterator

import pytest

from tests.control.conftest import background, environment_variables, settings, standin, workspace
from tests.night.night import Night
from tests.worker.conftest import always_short_pauses
from tests.worker.workspace import Workspace

__all__ = ["always_short_pauses", "background", "environment_variables", "settings", "standin", "workspace"]


@pytest.fixture
def night(workspace: Workspace) -> Iterator[Night]:
    """A night on the library; its workers are killed at the end of the test."""
    begun = Night(workspace)
    yield begun
    begun.end()
