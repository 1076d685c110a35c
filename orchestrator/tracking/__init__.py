"""Where a run's numbers go: its own folder first, MLflow behind it, and the terminal."""
