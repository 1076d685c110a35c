"""Updates of a round folded into their aggregate, and what the round cost."""
