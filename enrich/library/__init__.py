"""The library: opening it, adding videos, and its stored images and descriptions."""
