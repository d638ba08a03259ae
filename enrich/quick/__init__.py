"""The quick pass: a few key frames of a video, described within minutes by Claude, a local model or the baseline."""
