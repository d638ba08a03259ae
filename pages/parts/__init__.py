"""Components that several pages share, and one folder per page for what only that page draws."""
