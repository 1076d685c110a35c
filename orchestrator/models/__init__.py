"""Networks by name, their weights as one flat vector, and what a forward pass of them costs."""
