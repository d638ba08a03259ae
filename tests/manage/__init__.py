"""Managing the worker from outside: starting, finding and ending it, its hours, its logs."""
