"""Units of a model (channels, neurons, hidden units), and the submodels that some of them make."""
