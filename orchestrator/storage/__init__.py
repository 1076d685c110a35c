"""A run's folder: checkpoints, client states, logs, lock and summary."""
