"""Progress of runs and sweeps on the terminal."""
