"""The quick pass: several key frames in one request."""
