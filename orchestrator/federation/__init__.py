"""What a round is: the Algorithm contract, local training, aggregation; no Ray, no MLflow."""
