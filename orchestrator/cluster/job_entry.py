"""Where a job begins on the cluster: the command line, with the signals as a terminal would leave them."""

import signal
from types import FrameType

from orchestrator.cli import main


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


if __name__ == "__main__":
    # a cluster that was started in the background hands on that Ctrl-C is ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _as_interrupt)
    main()
