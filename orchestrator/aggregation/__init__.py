"""Folds the updates of a phase into their aggregate, and sums the costs of a round."""
