"""Parts of the page Frames."""
