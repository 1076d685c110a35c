"""Parts that users bring: files that a config names, metrics, sparsity schedules and learning-rate schedules."""
