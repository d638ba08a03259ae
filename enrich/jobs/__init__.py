"""Commands that the dashboard runs as processes of their own."""
