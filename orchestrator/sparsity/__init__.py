"""Masks, layer budgets, sparsity schedules, payloads and the wire format."""
