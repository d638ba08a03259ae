"""Start, stop and monitor the worker process from another process."""
