"""What the pages of the MLflow UI show for a run: addresses, description, names of metrics, data sets."""
