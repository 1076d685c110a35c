"""Where a job begins on the cluster: the command line, with the signals as a terminal would leave them."""

import signal

from orchestrator.cli.main import main
from orchestrator.cluster.signals import termination_as_interrupt

if __name__ == "__main__":
    # a cluster that was started in the background hands on that Ctrl-C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with termination_as_interrupt():
        main()
