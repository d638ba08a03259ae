"""Describing images with a vision model in Ollama."""
