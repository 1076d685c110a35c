"""User-level differential privacy: clipped updates, noise on their mean, and the accountant."""
