"""Commands that the dashboard runs in separate processes, in the foreground or as background jobs."""
