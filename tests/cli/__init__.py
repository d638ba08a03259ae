"""Tests of the command line, in this process for breadth and as a real process where processes matter."""
