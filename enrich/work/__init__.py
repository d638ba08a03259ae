"""Doing the work: the worker loop and its parts. Here video, describers and the database meet."""
