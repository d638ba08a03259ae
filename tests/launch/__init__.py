"""The programs that people start by a double click."""
