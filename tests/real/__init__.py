"""Tests against real servers; skipped, with the reason, where there are none."""
