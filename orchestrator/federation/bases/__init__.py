"""Base classes that several methods share: submodels, and masks of each client's own."""
