"""An experiment: its parts, its fingerprint and its initial parameters."""

import struct
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import torch

from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import attack_notes, machine_fingerprint, params_sha256
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.parameters import FlatModule
from tests.support.runs import fresh, prepared


def test_built_model_has_the_layout_of_the_initial_parameters() -> None:
    experiment = prepared()
    flat = FlatModule(experiment.build())
    assert flat.layout == experiment.setting.layout
    assert flat.layout.size == experiment.initial.size == 34_110


def test_new_models_and_their_copies_compute_in_the_configured_memory_format() -> None:
    small = ["algorithm.name=heterofl", "model.name=cnn_mnist", "data.image_size=28"]
    for overrides, expected in (
        (small, "channels_last"),
        ([*small, "model.memory_format=contiguous"], "contiguous"),
        (["algorithm.name=heterofl"], "contiguous"),
        (["algorithm.name=heterofl", "model.memory_format=channels_last"], "channels_last"),
    ):
        experiment = prepared(*overrides)
        environment = DeviceEnvironment(experiment, torch.device("cpu"))
        half = {group.name: group.num_units // 2 for group in experiment.setting.units}
        models = (experiment.new_model(), environment.full, environment.submodel(half))
        assert [flat.memory_format for flat in models] == [expected] * 3


def test_same_config_gives_the_same_fingerprint() -> None:
    first, second = (fresh("seed=5") for _ in range(2))
    assert first is not second
    assert first.fingerprint() == second.fingerprint()
    expected = {"data", "partition", "model", "memory_format", "initial_parameters", "fixed_state", "fleet"}
    assert set(first.fingerprint()) == expected


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("seed=1", {"partition", "initial_parameters"}),
        ("data.partition.kind=iid", {"partition"}),
        ("data.partition.alpha=0.6", {"partition"}),
        ("fleet.num_clients=7", {"partition", "fleet"}),
        ("fleet.name=five-tier", {"fleet"}),
        ("fleet.redraw=true", {"fleet"}),
        ("data.validation_fraction=0.2", {"partition"}),
        ("data.test_fraction=0.3", {"data", "partition"}),
        ("model.name=tests.support.models:dropout", {"model", "initial_parameters", "fixed_state"}),
        ("data.image_size=10", {"data", "model", "initial_parameters"}),
        ("model.memory_format=channels_last", {"memory_format"}),
        ("model.memory_format=contiguous", set()),
        ("training.lr=0.2", set()),
        ("training.rounds=9", set()),
        ("algorithm.name=fedprox", set()),
    ],
)
def test_fingerprint_differs_only_where_the_experiments_differ(override: str, changed: set[str]) -> None:
    before, after = prepared().fingerprint(), prepared(override).fingerprint()
    assert {name for name in before if before[name] != after[name]} == changed


def test_methods_share_partition_and_initial_parameters() -> None:
    fingerprints = {
        tuple(prepared(f"algorithm.name={name}").fingerprint().items())
        for name in ("fedavg", "feddst", "randommask", "fedprox", "fedavgm")
    }
    assert len(fingerprints) == 1


def test_machine_fingerprint_contains_torch_cpu_and_threads() -> None:
    fleet = get_fleet("uniform")
    found = machine_fingerprint(fleet)
    assert found.keys() >= {"torch", "cpu", "processor"}
    assert found["processor"]
    assert found["torch"] == torch.__version__
    assert found["threads"] == "default: 1"
    assert found == machine_fingerprint(fleet)
    assert "gpu" not in found


def test_machine_fingerprint_contains_the_gpu_if_clients_use_it() -> None:
    cpu_only = get_fleet("uniform").profiles[0]
    fleet = Fleet("mixed", "", (cpu_only, replace(cpu_only, name="phone", num_gpus=0.25)), (1.0, 1.0))
    expected = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    assert machine_fingerprint(fleet)["gpu"] == expected


def test_params_digest_is_over_little_endian_float32() -> None:
    values = [1.0, -0.5, 3.25]
    expected = sha256(struct.pack("<3f", *values)).hexdigest()
    assert params_sha256(np.array(values, dtype=np.float32)) == expected
    assert params_sha256(torch.tensor(values)) == expected


def test_attackers_are_named_in_one_line() -> None:
    attacked = prepared("fleet.num_clients=30", "attack.kind=gaussian", "attack.share=0.5")
    first = ", ".join(map(str, attacked.attackers[:10]))
    assert attack_notes(attacked) == [f"15 of 30 clients attack (gaussian): {first} and 5 more"]
    assert attack_notes(prepared()) == []
