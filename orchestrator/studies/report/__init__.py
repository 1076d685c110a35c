"""Writes the results of a study as HTML, Markdown, CSV and plots."""
