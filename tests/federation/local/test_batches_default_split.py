"""Models that cannot train on one sample, on default splits in which a client's last batch would have one."""

from pathlib import Path

import pytest

from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore


def prepared(model: str, seed: int) -> Experiment:
    """One round of all 20 clients; data, split, batch size and `drop_last` are the defaults."""
    training = {"rounds": 1, "clients_per_round": 20, "local_epochs": 1}
    name = f"tests.support.models:{model}"
    return prepare(ExperimentConfig.parse({"seed": seed, "model": {"name": name}, "training": training}))


@pytest.mark.parametrize(
    ("model", "smallest"), [("normalised", 2), ("standardised", 2), ("normalised_maps", 1), ("dropout", 2)]
)
def test_every_client_of_a_default_split_trains(model: str, smallest: int, tmp_path: Path) -> None:
    """With seed 1, client sizes leave a remainder of one sample: 20 n + 1."""
    experiment = prepared(model, seed=1)
    sizes = experiment.partition.train.sizes().tolist()
    assert any(size % 20 == 1 for size in sizes)
    assert experiment.setting.smallest_batch == smallest
    driver = Driver(experiment, InProcessExecutor(experiment), RunStore(tmp_path / "run"))
    (record,) = driver.run()
    assert (record.metrics["fleet/participants"], record.metrics["fleet/failures"]) == (20, 0)
    trained = [sum(batch_sizes(size, experiment.setting.training, smallest)) for size in sizes]
    assert trained == sizes, "no sample is left out"
