"""Writes a comparison of runs as tables, charts, an HTML page, CSV and JSON."""
