"""The launchers that users start with a double click."""
