"""The library: opening it, adding videos, the stored images and descriptions."""
