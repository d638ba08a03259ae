"""The quick pass: describers for a few key frames of a video."""
