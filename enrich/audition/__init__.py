"""Auditions: what different models say of some frames of the user's own, and how long they would take for all."""
