"""Checking: whether all that is stored belongs together, and whether what was left out lost nothing."""
