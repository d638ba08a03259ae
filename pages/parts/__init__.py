"""Components that several pages share, and one folder or module per page for what only that page draws."""
