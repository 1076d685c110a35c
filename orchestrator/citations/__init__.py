"""Publications that methods name, and their forms: BibTeX and Markdown."""
