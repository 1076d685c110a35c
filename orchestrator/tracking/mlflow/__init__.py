"""The part of tracking that knows MLflow."""
