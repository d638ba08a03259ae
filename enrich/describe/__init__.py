"""Describing pictures: the Describer protocol and one module for each describer. Knows no database."""
