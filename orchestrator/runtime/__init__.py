"""How rounds run: executors, the driver, the run's store and its commits."""
