"""Start, stop and watch the worker process from outside."""
