"""The command line: `main` assembles it from one module for each group of commands."""
