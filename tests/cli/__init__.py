"""The command line, as its users meet it: in this process for breadth, as a real process where processes matter."""
