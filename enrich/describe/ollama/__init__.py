"""Describing images with a model in Ollama."""
