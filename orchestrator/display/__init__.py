"""Shows the progress of runs and sweeps on the terminal."""
