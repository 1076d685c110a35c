"""Executors: client tasks in this process or on Ray actors, and where the actors are placed."""
