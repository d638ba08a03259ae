"""Audits: whether the frames that sampling skipped were redundant."""
