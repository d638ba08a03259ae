"""Describing key frames with Claude."""
