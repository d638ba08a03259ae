"""The tests: sentences about behaviour, at every level."""
