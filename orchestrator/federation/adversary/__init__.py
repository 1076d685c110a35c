"""Attacks of clients on the training: who attacks, flipped labels, and altered updates."""
