"""Scheduling: which frame is described next, and how far a run gets."""
