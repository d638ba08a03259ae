"""Every test of the worker runs with short pauses."""

import pytest


@pytest.fixture(autouse=True)
def always_short_pauses(short_pauses: None) -> None:
    """Also where a test makes its worker without a `workspace`."""
