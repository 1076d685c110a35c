"""The actor around the driver: a node that does not see the run's folder is rejected."""

from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.execution.ray_actors import end_actors
from orchestrator.execution.ray_sharing import share
from orchestrator.runtime.driver_actor import DriverActor, require_visible
from orchestrator.runtime.ray_workers import start_workers
from orchestrator.storage.lock import locked_folder
from tests.support.runs import drive, prepared


def test_folder_that_the_node_does_not_see_is_rejected(tmp_path: Path) -> None:
    require_visible(tmp_path)
    with pytest.raises(ConfigError) as caught:
        require_visible(tmp_path / "runs" / "run-1")
    assert (caught.value.field, caught.value.value) == ("runtime.storage", tmp_path / "runs")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    """The actor's class in this process, with client actors on Ray."""

    OPTIONS = ("runtime.actors=pooled", "runtime.pool_size=1", "training.rounds=3")

    def test_rounds_are_those_of_a_run_in_one_process(self, tmp_path: Path) -> None:
        """Two calls run two rounds; after `stop` the third call ends the run."""
        experiment = prepared(*self.OPTIONS)
        alone = drive(prepared("training.rounds=2"), tmp_path / "alone").params_sha256()
        actor, folder = DriverActor(), tmp_path / "run-1"
        folder.mkdir()
        workers = start_workers(experiment, "run-1")
        description = actor.open(share(experiment), str(folder), workers)
        try:
            assert "1 pooled actor" in description
            actor.ready(60.0)
            records = [actor.advance()]
            actor.stop()
            records += [actor.advance(), actor.advance()]
            assert [None if record is None else record.round_idx for record in records] == [0, 1, None]
            assert actor.params_sha256() == alone
            with pytest.raises(CheckpointError), locked_folder(folder, "driver.lock"):
                pytest.fail("a second driver got the lock of the first one")
        finally:
            end_driver(actor)


def end_driver(actor: DriverActor) -> None:
    """Release what the process of a real actor releases when the process ends."""
    end_actors(actor._actors)
    actor._lock.__exit__(None, None, None)
