"""Tests of starting, stopping and monitoring the worker."""
