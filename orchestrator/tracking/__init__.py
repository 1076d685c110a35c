"""Records the metrics of a run in its folder, and delivers them from there to MLflow."""
