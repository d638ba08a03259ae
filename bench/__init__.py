"""Measurements; each file with a `main` is a program."""
