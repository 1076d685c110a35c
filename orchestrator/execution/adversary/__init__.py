"""Attacks on the side of the client, in the process that runs the client's tasks."""
