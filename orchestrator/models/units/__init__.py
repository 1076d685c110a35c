"""Units of a model (channels, neurons, hidden units), and submodels that keep only some units."""
