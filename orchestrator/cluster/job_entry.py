"""Entry point of a job on the cluster: run the command line with the signal handling of a terminal."""

import signal

from orchestrator.cli.main import main
from orchestrator.cluster.signals import termination_as_interrupt

if __name__ == "__main__":
    # a Ray process that was started in the background ignores SIGINT, and its jobs inherit this setting
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with termination_as_interrupt():
        main()
