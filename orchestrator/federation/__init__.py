"""The Algorithm contract, local training and aggregation. Nothing here uses Ray or MLflow."""
