"""Sweeps: a search space's trials on Ray Tune, each a run of its own. `tune_*.py` are the files that know Tune."""
