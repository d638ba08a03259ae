"""Tests of commands and background jobs of the dashboard."""
