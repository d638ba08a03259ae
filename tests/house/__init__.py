"""Rules for the code base, checked on every file."""
