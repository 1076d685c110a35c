"""A run on Ray: a driver actor, client actors and a tracker actor; and the local Ray they live on."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.config import RuntimeConfig
from orchestrator.errors import ActorsLostError, ResourceError, TrackingError
from orchestrator.runtime.driver_actor import ROUNDS, DriverActor
from orchestrator.runtime.experiment import Experiment
from orchestrator.runtime.ray_actors import GONE, end_actors, end_named, once_free, one_line
from orchestrator.runtime.ray_calls import UnawaitedCalls
from orchestrator.runtime.ray_head import EVERY_S, Head
from orchestrator.runtime.ray_sharing import share
from orchestrator.tracking.credentials import connecting
from orchestrator.tracking.mlflow_sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo, read_records
from orchestrator.tracking.tracker import NullTracker, Tracker, TrackingOutcome

_LOG = logging.getLogger(__name__)
NAMESPACE = "sparsefleet"
#: set by Ray for a job's command: without an address it joins the job's cluster
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
#: times in a row that a driver is started again without a commit in between
MOST_LOSSES = 3
#: how long the client actors of a driver that was started again may take to start, all of them
START_S = 300.0
T = TypeVar("T")


@contextmanager
def ray_session(runtime: RuntimeConfig, *, verbose: bool = False) -> Iterator[None]:
    """Connect to the configured cluster, or start a local one, for the block; joins one that is already up."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    address = runtime.address or ("auto" if _IN_A_JOB in os.environ else "local")
    local: dict[str, Any] = {"include_dashboard": runtime.dashboard} if address == "local" else {}
    try:
        ray.init(
            address=address,
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

    def __init__(self, run_id: str, head: Head) -> None:
        self._head = head
        self._sink: Any = (
            ray.remote(MlflowSink)
            .options(name=f"{run_id}/tracker", num_cpus=0, scheduling_strategy=this_node())
            .remote(connecting())
        )
        self._calls = UnawaitedCalls()

    def start(self, info: RunInfo) -> None:
        """See Tracker."""
        self._calls.add(self._sink.start.remote(info))

    def log(self, record: RoundRecord) -> None:
        """See Tracker."""
        self._calls.add(self._sink.log.remote(record))

    def finish(
        self, status: Literal["FINISHED", "FAILED", "KILLED"], summary: Mapping[str, float | int | str]
    ) -> None:
        """See Tracker."""
        self._calls.add(self._sink.finish.remote(status, dict(summary)))

    def close(self) -> TrackingOutcome:
        """See Tracker."""
        if self._head.is_lost:
            raise TrackingError("what MLflow has not been told is told when the run goes on")
        try:
            self._calls.wait()
            outcome: TrackingOutcome = ray.get(self._sink.close.remote())
        except ray.exceptions.RayError as error:
            raise TrackingError(f"tracking failed: {one_line(error)}") from error
        finally:
            end_actors([self._sink])
        return outcome


@final
class RayBackend:
    """Driver, clients and tracker as actors of the connected cluster.

    A driver that is lost, or that lost client actors for good, is started again from the last commit, with the
    clients placed anew on what the cluster then has; at the fourth loss without a commit in between it gives up.
    """

    def __init__(
        self, experiment: Experiment, run_dir: Path, note: Callable[[str], None] = _LOG.warning
    ) -> None:
        """`note` is told when the driver has to be started again. Raises what keeps it from starting now."""
        self._tracked, self._run_dir, self._note = experiment.config.tracking.enabled, run_dir, note
        self._shared = share(experiment)
        self._stopping, self._losses = False, 0
        self._head = Head(experiment.config.runtime.address)
        self._start()

    @property
    def _run_id(self) -> str:
        return self._run_dir.name

    def _start(self) -> None:
        self._driver = driver = _driver_actor(self._run_id)
        try:
            self.description: str = get_unwrapped(driver.open.remote(self._shared, str(self._run_dir)))
        except BaseException:
            end_actors([driver])
            raise

    def tracker(self) -> Tracker:
        """See Backend."""
        return RayTracker(self._run_id, self._head) if self._tracked else NullTracker()

    def ready(self) -> None:
        """See Backend."""
        self._insist(lambda: self._get(self._driver.ready.remote()))

    def records(self) -> Iterator[RoundRecord]:
        """See Backend. Committed rounds that a lost driver could not report any more are read from the run's folder."""
        num_reported = len(read_records(self._run_dir / "metrics.jsonl"))
        while True:
            try:
                for record in self._advancing():
                    num_reported, self._losses = record.round_idx + 1, 0
                    yield record
                return
            except ActorsLostError as error:
                self._restart(error)
            for record in read_records(self._run_dir / "metrics.jsonl", num_reported):
                num_reported, self._losses = record.round_idx + 1, 0
                yield record

    def _advancing(self) -> Iterator[RoundRecord]:
        """Each record of this driver. One call is always ahead, so that it need not wait for this process."""
        calls = deque(self._driver.advance.remote() for _ in range(2))
        while (record := self._get(calls.popleft())) is not None:
            calls.append(self._driver.advance.remote())
            yield record

    def _get(self, ref: ray.ObjectRef[Any]) -> Any:
        """What the driver answers, for as long as the cluster has its head."""
        try:
            ready = False
            while not ready:
                ready = bool(ray.wait([ref], timeout=EVERY_S)[0])
                if self._head.is_away():
                    self._give_up()
            return get_unwrapped(ref)
        except ConnectionError as error:
            if not self._head.through_client:
                raise
            self._give_up(error)

    def _give_up(self, error: Exception | None = None) -> NoReturn:
        """Leave everything as it is: what the head should end ends with it."""
        self._head.is_lost = True
        said = f" ({one_line(error)})" if isinstance(error, ConnectionError) else ""
        with suppress(Exception):  # whatever kind of connection is left, if any
            self._driver.stop.remote()
        raise ActorsLostError(
            f"the head of the Ray cluster, {self._head.address}, does not answer{said}; "
            f"`sparsefleet resume {self._run_dir}` goes on from the last commit once there is a cluster"
        ) from error

    def _insist(self, call: Callable[[], T]) -> T:
        """What a call of the driver gives, which is started again where it dies meanwhile."""
        while True:
            try:
                return call()
            except ActorsLostError as error:
                self._restart(error)

    def _restart(self, error: ActorsLostError) -> None:
        if self._head.is_lost:
            raise error
        if not self._head.answers():
            self._give_up(error)
        self._losses += 1
        if self._losses > MOST_LOSSES:
            raise ActorsLostError(
                f"{error}, {self._losses} times without a commit; `sparsefleet resume {self._run_dir}` goes on"
            ) from error
        self._note(f"{error}; going on from the last commit")
        end_actors([self._driver])  # also where it is dead: this process holds on to its name until told
        end_named(f"{self._run_id}/", but=f"{self._run_id}/tracker")
        try:
            self._start()
            self._get(self._driver.ready.remote(START_S))
        except ActorsLostError as again:
            return self._restart(again)
        except ResourceError as lack:
            raise ActorsLostError(
                f"{error}, and what the cluster has left does not hold the clients ({lack}); "
                f"`sparsefleet resume {self._run_dir}` goes on once it does"
            ) from lack
        self._note(self.description)
        if self._stopping:
            self.stop()

    def stop(self) -> None:
        """See Backend."""
        self._stopping = True
        self._driver.stop.remote()

    def params_sha256(self) -> str:
        """See Backend."""
        digest: str = self._insist(lambda: get_unwrapped(self._driver.params_sha256.remote()))
        return digest

    def close(self) -> None:
        """See Backend."""
        if self._head.is_lost:
            return
        try:
            end_actors([self._driver])  # first, so that it takes no dying client for one that failed
            end_named(f"{self._run_id}/", but=f"{self._run_id}/tracker")
        except ray.exceptions.RayError:
            _LOG.debug("what is left of the run ends with Ray", exc_info=True)


def _driver_actor(run_id: str) -> Any:
    """A run's driver, on the node where the command runs; it can be asked to stop while it runs rounds."""
    actor_class = ray.remote(concurrency_groups={ROUNDS: 1})(DriverActor)  # type: ignore[call-overload]
    placed = actor_class.options(name=f"{run_id}/driver", num_cpus=0, scheduling_strategy=this_node())
    return once_free(placed.remote)


def this_node() -> NodeAffinitySchedulingStrategy:
    """Where the command runs: driver and tracker write to the run's folder, which is there."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def get_unwrapped(ref: ray.ObjectRef[Any], who: str = "the driver actor") -> Any:
    """ray.get, with the error that the actor raised rather than Ray's wrapping of it; `who` is for its death."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except GONE as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            raise cause from error
        raise ActorsLostError(f"{who} is lost ({one_line(error)})") from error
