"""The libraries of `tests/audit`."""

from tests.audit.conftest import enriched_home, films, library, open_copy

__all__ = ["enriched_home", "films", "library", "open_copy"]
