"""The folder of a run: checkpoints, client states, logs, lock and summary."""
