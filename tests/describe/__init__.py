"""Tests of the describers."""
