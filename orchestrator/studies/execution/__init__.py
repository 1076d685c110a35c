"""Runs a study as two sweeps: one that tunes the arms, and one whose runs are reported."""
