"""Scheduling: the order in which frames are described, and forecasts of how far a run gets."""
