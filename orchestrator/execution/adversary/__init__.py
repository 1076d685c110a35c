"""Attacks in the place where clients' tasks run."""
