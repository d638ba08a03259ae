"""Parts of the Costs page."""
