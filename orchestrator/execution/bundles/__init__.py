"""Bundles: training tasks of one round that an actor trains together (`runtime.cohort`)."""
