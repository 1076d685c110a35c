"""Base classes that several methods share, such as submodels with their keep ratios and a mask for each client."""
