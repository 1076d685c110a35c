"""Runs a study as three sweeps: two that tune the arms, and one whose runs are reported."""
