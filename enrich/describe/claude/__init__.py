"""The quick pass with Claude."""
