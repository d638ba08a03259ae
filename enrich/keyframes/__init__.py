"""Which of a video's pictures are its key frames: those the quick pass looks at."""
