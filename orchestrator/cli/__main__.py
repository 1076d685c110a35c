"""`python -m orchestrator.cli` runs the command `sparsefleet`."""

from orchestrator.cli.main import main

main()
