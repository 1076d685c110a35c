"""The part of a sweep that knows Ray Tune."""
