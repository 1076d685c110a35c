"""Local training of submodels: no messages, the device's units, and the reductions to `local` and HeteroFL's step."""

from pathlib import Path

import torch

from algorithms.local_submodel import LocalSubmodel, LocalSubmodelClient
from orchestrator.contract.rounds import play
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.federation.exchange import find_model
from orchestrator.rounds.driver import Driver
from orchestrator.sparsity.wire import decode
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import experiment

TIERS = {"algorithm.name": "local_submodel", "fleet.name": "five-tier"}
#: a HeteroFL client without Scaler and masked loss takes the steps of plain local training
PLAIN_HETEROFL = {
    **TIERS,
    "algorithm.name": "heterofl",
    "algorithm.scaler": False,
    "algorithm.masked_loss": False,
    "algorithm.masked_scores": False,
}


def test_full_models_train_as_in_local() -> None:
    everyone = {"algorithm.participation": "all"}
    ours = play(experiment({"algorithm.name": "local_submodel", **everyone}), 3)
    for mine, local in zip(ours, play(experiment({"algorithm.name": "local"}), 3), strict=True):
        for k in range(8):
            assert torch.equal(mine.client_states[k].params, local.client_states[k].params)


def test_first_task_trains_the_submodel_of_heterofl() -> None:
    """Both start from the common initial model; entries of other units keep their initial bits."""
    run = experiment(TIERS)
    algorithm = run.algorithm
    assert isinstance(algorithm, LocalSubmodel)
    sent = play(experiment(PLAIN_HETEROFL), 1)[0]
    states = play(run, 1)[0].client_states
    assert len(sent.updates) > 1
    for job, update in zip(sent.jobs, sent.updates, strict=True):
        index = algorithm.index(algorithm.kept(job.task, algorithm.init_client(update.client_id)))
        item = find_model(decode(update.buffer))
        assert item is not None
        state = states[update.client_id]
        assert state.params[index].tolist() == item.values.tolist()
        others = torch.ones(len(state.params), dtype=torch.bool)
        others[index] = False
        assert torch.equal(state.params[others], torch.from_numpy(run.initial)[others])


def test_no_bytes_are_sent_and_clients_learn(tmp_path: Path) -> None:
    run = experiment({**TIERS, "training.rounds": 6})
    driver = Driver(run, InProcessExecutor(run), RunStore(tmp_path / "run"))
    metrics = [record.metrics for record in driver.run()][-1]
    assert metrics["comm/upload_bytes_total"] == metrics["comm/download_bytes_total"] == 0
    assert metrics["personal/accuracy_mean"] > metrics["eval/accuracy"] + 0.3


def test_state_has_as_many_units_as_the_device_of_the_last_task_can_hold() -> None:
    run = experiment({**TIERS, "fleet.redraw": True, "training.rounds": 4})
    for played in play(run, 4):
        for job in played.jobs:
            state: LocalSubmodelClient = played.client_states[job.task.client_id]
            capability = run.setting.profile_of(job.task.client_id, job.task.round_idx).capability
            kept = run.algorithm.counts(capability)  # type: ignore[attr-defined]
            assert int(state.units.sum()) == sum(kept.values())
