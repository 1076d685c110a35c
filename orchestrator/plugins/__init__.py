"""Users' own files that a config names: methods, models, search spaces and fleets."""
