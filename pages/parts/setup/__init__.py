"""Parts of the page Setup."""
