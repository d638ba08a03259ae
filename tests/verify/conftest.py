"""The libraries of `tests/audit`."""

from tests.audit.conftest import enriched_home, library, open_copy, videos

__all__ = ["enriched_home", "library", "open_copy", "videos"]
