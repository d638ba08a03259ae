"""A library and a stand-in as in `tests/manage`, and workers that are always ended."""

from collections.abc import Iterator

import pytest

from tests.control.conftest import background, house, own_environment, settings, standin
from tests.night.night import Night
from tests.worker.house import House

__all__ = ["background", "house", "own_environment", "settings", "standin"]


@pytest.fixture
def night(house: House) -> Iterator[Night]:
    """A night on the library; its workers are killed at the end."""
    begun = Night(house)
    yield begun
    begun.end()
