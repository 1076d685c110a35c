"""Methods at neutral options equal FedAvg bit for bit, with unequal clients and partial participation."""

from pathlib import Path

import pytest
import torch

from orchestrator.contract.rounds import play
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import params_sha256
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import assert_same_params, experiment

Options = dict[str, object]

NEUTRAL: dict[str, Options] = {
    "fedprox": {"algorithm.name": "fedprox", "algorithm.mu": 0},
    "fedavgm": {"algorithm.name": "fedavgm", "algorithm.server_momentum": 0},
    "randommask": {"algorithm.name": "randommask", "sparsity.level": 0},
    "random mask drawn": {
        "algorithm.name": "randommask",
        "algorithm.criterion": "random",
        "sparsity.level": 0,
    },
    "feddst": {"algorithm.name": "feddst", "algorithm.alpha": 0, "sparsity.level": 0},
    "fedavg_ft": {"algorithm.name": "fedavg_ft"},
    "ditto": {"algorithm.name": "ditto"},
    "apfl": {"algorithm.name": "apfl"},
    "fedper": {"algorithm.name": "fedper", "algorithm.head_layers": 0},
    "fedrep": {"algorithm.name": "fedrep", "algorithm.head_layers": 0, "algorithm.head_epochs": 0},
    "heterofl": {
        "algorithm.name": "heterofl",
        "algorithm.masked_loss": False,
        "algorithm.agg_weight": "samples",
    },
    "random units of all": {
        "algorithm.name": "fedrolex",
        "algorithm.offset": "random",
        "algorithm.masked_loss": False,
        "algorithm.agg_weight": "samples",
    },
    "fjord": {"algorithm.name": "fjord", "algorithm.widths": "[1.0]"},
}
ACTIVE: dict[str, Options] = {
    "fedprox": {"algorithm.name": "fedprox", "algorithm.mu": 0.1},
    "fedavgm": {"algorithm.name": "fedavgm", "algorithm.server_momentum": 0.5},
    "randommask": {"algorithm.name": "randommask", "sparsity.level": 0.5},
    "feddst": {"algorithm.name": "feddst", "sparsity.level": 0.5},
    "fedadam": {"algorithm.name": "fedadam"},
    "fedyogi": {"algorithm.name": "fedyogi"},
    "feddyn": {"algorithm.name": "feddyn"},
    "scaffold": {"algorithm.name": "scaffold"},
    "fedper": {"algorithm.name": "fedper"},
    "fedrep": {"algorithm.name": "fedrep"},
    "perfedavg": {"algorithm.name": "perfedavg"},
    "pfedme": {"algorithm.name": "pfedme"},
    "heterofl": {"algorithm.name": "heterofl"},
    "fedrolex": {"algorithm.name": "fedrolex", "algorithm.ratio_policy": "fixed", "algorithm.ratio": 0.5},
    "fjord": {"algorithm.name": "fjord"},
}
SETTINGS: dict[str, Options] = {
    "mlp": {},
    "running statistics": {"model.name": "tests.support.fakes:normalised_net"},
    "other options": {
        "training.clip_norm": 1.0,
        "training.weight_decay": 0.01,
        "training.lr_decay": 0.9,
        "training.with_replacement": True,
        "wire.value_dtype": "float16",
    },
}


def test_runs_have_unequal_clients_and_partial_participation() -> None:
    run = experiment()
    assert len(set(run.partition.train.sizes().tolist())) == 8
    cohorts = [[u.client_id for u in r.updates] for r in play(run)]
    assert len({tuple(c) for c in cohorts}) > 1


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", NEUTRAL)
def test_neutral_options_equal_fedavg(method: str, setting: str) -> None:
    assert_same_params(
        play(experiment(SETTINGS[setting] | NEUTRAL[method])), play(experiment(SETTINGS[setting]))
    )


@pytest.mark.parametrize("method", ACTIVE)
def test_other_options_differ_from_fedavg(method: str) -> None:
    """Without a difference, the test above would pass for a method that does nothing."""
    assert not torch.equal(
        play(experiment(ACTIVE[method]))[-1].after.params, play(experiment())[-1].after.params
    )


@pytest.mark.parametrize("setting", ["mlp", "running statistics"])
def test_top_k_with_all_entries_equals_fedavg(setting: str) -> None:
    """Equal to 1e-6: the server adds the mean change, and FedAvg takes the mean of the models."""
    whole = {"algorithm.name": "topk", "sparsity.level": 0}
    pairs = zip(play(experiment(SETTINGS[setting] | whole)), play(experiment(SETTINGS[setting])), strict=True)
    for ours, fedavg in pairs:
        assert torch.allclose(ours.after.params, fedavg.after.params, rtol=0, atol=1e-6)
    part = play(experiment(SETTINGS[setting] | {"algorithm.name": "topk", "sparsity.level": 0.5}))
    assert not torch.allclose(part[-1].after.params, fedavg.after.params, rtol=0, atol=1e-3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_first_local_round_of_a_client_equals_its_fedavg_update(setting: str) -> None:
    """Both have the same start and the same batches.

    No message is sent, so that float32 values are compared.
    """
    options = SETTINGS[setting] | {"wire.value_dtype": "float32"}
    alone = play(experiment(options | {"algorithm.name": "local"}), 1)[0]
    together = play(experiment(options), 1)[0]
    for update, model in zip(together.updates, together.models, strict=True):
        assert model is not None
        assert torch.equal(alone.client_states[update.client_id].params, model.values)


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_feddst_without_readjustments_equals_randommask(level: float) -> None:
    frozen = play(experiment({"algorithm.name": "feddst", "algorithm.alpha": 0, "sparsity.level": level}))
    fixed = play(experiment({"algorithm.name": "randommask", "sparsity.level": level}))
    assert_same_params(frozen, fixed)
    assert torch.equal(frozen[-1].after.mask, fixed[-1].after.mask)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {},
        *NEUTRAL.values(),
        *({"algorithm.name": name} for name in ("feddst", "fedspa", "fedpm", "local", "topk")),
    ],
)
def test_driver_ends_with_the_parameters_of_the_recorded_rounds(options: Options, tmp_path: Path) -> None:
    """`play`, which other tests use, is compared with the driver."""
    run = experiment(options)
    driver = Driver(run, InProcessExecutor(run), RunStore(tmp_path / "run"))
    records = list(driver.run())
    rounds = play(run)
    assert driver.params_sha256() == params_sha256(rounds[-1].after.params)
    for record, played in zip(records, rounds, strict=True):
        uploaded = sum(u.buffer.nbytes for u in played.updates)
        assert record.metrics["comm/upload_bytes"] == uploaded
        assert record.metrics["comm/download_bytes"] == sum(played.download_bytes)
