"""Describers: the protocol and its implementations (Ollama, Claude, baseline). No database access."""
