"""Runs the trials of a sweep on Ray Tune."""
