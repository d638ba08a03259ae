"""The quick pass: a few key frames of a film looked at within minutes, by Claude, a local model or the baseline."""
