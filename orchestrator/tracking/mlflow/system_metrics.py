"""Logs the use of this machine to an MLflow run, with MLflow's own monitor, until the run ends."""

import threading
from contextlib import suppress
from typing import Any, final

from orchestrator.tracking.uris import client_uri

#: seconds that the monitor has to send its last values
_STOP_S = 5.0


@final
class SystemMetrics:
    """A thread of MLflow that samples processor, memory, disk, network and GPU.

    A failure of the monitor, or a store that does not answer, changes nothing else. `MLFLOW_SYSTEM_METRICS_*` variables
    set the interval of its samples (default: 10 s). A resumed run continues after its last sample.
    """

    def __init__(self, uri: str, mlflow_run_id: str) -> None:
        """Start the thread."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor: Any = SystemMetricsMonitor(
            mlflow_run_id, resume_logging=True, tracking_uri=client_uri(uri)
        )
        self._monitor.start()

    def stop(self) -> None:
        """Stop the thread, and wait a short time for its last values."""
        stopping = threading.Thread(target=self._finish, name="system metrics", daemon=True)
        stopping.start()
        stopping.join(_STOP_S)

    def _finish(self) -> None:
        with suppress(Exception):  # errors of MLflow, requests, SQLAlchemy or the system
            self._monitor.finish()
