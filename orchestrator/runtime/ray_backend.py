"""A run on Ray: a driver actor, client actors and a tracker actor; and the local Ray they live on."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config import RuntimeConfig
from orchestrator.errors import ResourceError, SparsefleetError, TrackingError
from orchestrator.runtime.driver_actor import DriverActor
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.ray_executor import end_actors, one_line
from orchestrator.runtime.ray_sharing import share
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import NullTracker, Tracker, TrackingOutcome

NAMESPACE = "sparsefleet"


@contextmanager
def ray_session(runtime: RuntimeConfig, *, verbose: bool = False) -> Iterator[None]:
    """Connect to the configured cluster, or start a local one, for the block; joins one that is already up."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local: dict[str, Any] = {"include_dashboard": runtime.dashboard} if runtime.address is None else {}
    try:
        ray.init(
            address=runtime.address or "local",
            namespace=NAMESPACE,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            **local,
        )
    except (ConnectionError, ValueError) as error:
        problem = f"Ray cannot be reached ({one_line(error)})"
        raise ResourceError(
            "runtime.address",
            runtime.address,
            problem,
            "start the cluster (one with tokens wants RAY_AUTH_MODE=token), or leave the key unset",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


@final
class RayTracker:
    """A sink in an actor of its own (Tracker); calls are sent in order and awaited only by `close`."""

    def __init__(self, run_id: str) -> None:
        self._sink: Any = (
            ray.remote(MlflowSink)
            .options(name=f"{run_id}/tracker", num_cpus=0, scheduling_strategy=this_node())
            .remote()
        )
        self._calls: list[ray.ObjectRef[Any]] = []

    def start(self, info: RunInfo) -> None:
        """See Tracker."""
        self._calls.append(self._sink.start.remote(info))

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""
        self._calls.append(self._sink.log.remote(record))

    def finish(
        self, status: Literal["FINISHED", "FAILED", "KILLED"], summary: Mapping[str, float | int | str]
    ) -> None:
        """See Tracker."""
        self._calls.append(self._sink.finish.remote(status, dict(summary)))

    def close(self) -> TrackingOutcome:
        """See Tracker."""
        try:
            ray.get(self._calls)
            outcome: TrackingOutcome = ray.get(self._sink.close.remote())
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        finally:
            end_actors([self._sink])
        return outcome


@final
class RayBackend:
    """Driver, clients and tracker as actors of the connected cluster."""

    def __init__(self, experiment: Experiment, run_dir: Path) -> None:
        self._tracked, self._run_id = experiment.config.tracking.enabled, run_dir.name
        self._shared = share(experiment)
        self._driver = driver = self._start_driver()
        try:
            self.description: str = get_unwrapped(driver.open.remote(self._shared, str(run_dir)))
        except BaseException:
            end_actors([driver])
            raise

    def _start_driver(self) -> Any:
        return (
            ray.remote(DriverActor)
            .options(
                name=f"{self._run_id}/driver",
                num_cpus=0,
                max_concurrency=2,
                scheduling_strategy=this_node(),
            )
            .remote()
        )

    def tracker(self) -> Tracker:
        """See Backend."""
        return RayTracker(self._run_id) if self._tracked else NullTracker()

    def ready(self) -> None:
        """See Backend."""
        get_unwrapped(self._driver.ready.remote())

    def records(self) -> Iterator[RoundRecord]:
        """See Backend."""
        for ref in self._driver.run.options(num_returns="streaming").remote():
            yield get_unwrapped(ref)

    def stop(self) -> None:
        """See Backend."""
        self._driver.stop.remote()

    def params_sha256(self) -> str:
        """See Backend."""
        digest: str = get_unwrapped(self._driver.params_sha256.remote())
        return digest

    def close(self) -> None:
        """See Backend."""
        try:
            ray.get(self._driver.close.remote(), timeout=60)
        except ray.exceptions.RayError:
            logging.getLogger(__name__).debug("the driver actor was gone already", exc_info=True)
        end_actors([self._driver])


def this_node() -> NodeAffinitySchedulingStrategy:
    """Where the command runs: driver and tracker write to the run's folder, which is there."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def get_unwrapped(ref: ray.ObjectRef[Any], who: str = "the driver actor") -> Any:
    """ray.get, with the error that the actor raised rather than Ray's wrapping of it; `who` is for its death."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.ActorDiedError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise SparsefleetError(
            f"{who} died ({one_line(error)}); `sparsefleet resume` continues the run"
        ) from error
