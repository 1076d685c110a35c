"""Write what Ray reports in the command's process to a file, so that it does not appear between our own lines."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ray._private import worker as ray_worker

from orchestrator.runtime.run_folder import RAY_LOG


@contextmanager
def ray_log(folder: Path) -> Iterator[None]:
    """Append Ray's messages and log lines of this process to `folder`/ray.log while the block runs.

    Ray has no option for its messages on lost workers, which it prints on standard output. So the block replaces the
    function that prints them.
    """
    log = logging.FileHandler(folder / RAY_LOG, delay=True, encoding="utf-8")
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours, rays = logging.getLogger(f"{__name__}.messages"), logging.getLogger("ray")

    def write_message(data: Mapping[str, Any], *_: object, **__: object) -> None:
        ours.warning("%s", "\n".join(map(str, data["lines"])))

    before, handlers, printed = ours.propagate, rays.handlers, ray_worker.print_to_stdstream
    ours.addHandler(log)
    ours.propagate, rays.handlers, ray_worker.print_to_stdstream = False, [log], write_message
    try:
        yield
    finally:
        ours.propagate, rays.handlers, ray_worker.print_to_stdstream = before, handlers, printed
        ours.removeHandler(log)
        with suppress(OSError):  # the disk may be full
            log.close()
