"""Consistency checks of the library: database rows, stored images and source videos."""
