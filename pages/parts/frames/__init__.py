"""Parts of the Frames page."""
