"""Checkpoints of a run: server state, client states, and the pointer file that makes them durable."""
