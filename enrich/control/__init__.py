"""Start, stop and monitor the worker process from another process; find the running dashboard and open it."""
