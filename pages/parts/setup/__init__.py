"""Parts of the Setup page."""
