"""Masks, layer budgets, sparsity schedules, and the wire format that carries them."""
