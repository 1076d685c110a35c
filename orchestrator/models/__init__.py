"""Models: builders by name, weights as one flat vector, counted cost, and submodels."""
