"""`python -m orchestrator.cli` is the command `sparsefleet`."""

from orchestrator.cli.main import main

main()
