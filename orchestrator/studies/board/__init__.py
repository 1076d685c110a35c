"""The board: all results of studies in one Markdown page and one static HTML page, from a folder of small CSV files."""
