"""Run an experiment from its config to its summary, in this process or on Ray, and resume it."""
