"""Fixtures for real servers."""

from tests.real.server import real_ollama

__all__ = ["real_ollama"]
