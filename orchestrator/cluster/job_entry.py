"""Entry point of a job on the cluster: run the command line with the signal handling of a terminal."""

import os
import signal
import sys

from orchestrator.cli.main import main
from orchestrator.cluster.signals import termination_as_interrupt
from orchestrator.cluster.variables import variables_in_file
from orchestrator.errors import RequestError

if __name__ == "__main__":
    try:
        os.environ.update(variables_in_file(os.environ))
    except RequestError as error:
        sys.exit(f"error: {error}")
    # a Ray process that was started in the background ignores SIGINT, and its jobs inherit this setting
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with termination_as_interrupt():
        main()
