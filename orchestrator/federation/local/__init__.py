"""Local training: what one client does between receiving a model and packing its update."""
