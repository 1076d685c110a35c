"""Entry point of a job on the cluster: run the command line with the signal handling of a terminal."""

from orchestrator.cli.main import main
from orchestrator.runtime.signals import accept_all_signals

if __name__ == "__main__":
    # a Ray process ignores or blocks some signals, and its jobs inherit this setting
    accept_all_signals()
    main()
