"""The modules of tracking that use MLflow."""
