"""Signals that a process receives, and the child processes that it starts."""
