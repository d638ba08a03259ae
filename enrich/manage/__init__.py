"""Knowing the worker from outside: which process it is and whether it lives."""
