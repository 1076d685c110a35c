"""Initial weights of a run from a file: the names of its tensors, and loading."""
