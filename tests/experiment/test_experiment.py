"""An experiment: its parts, its fingerprint and its initial parameters."""

import struct
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from orchestrator.errors import ConfigError, ModelError, RequestError
from orchestrator.experiment.experiment import Experiment, machine_fingerprint, params_sha256
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.parameters import FlatModule
from orchestrator.models.registry import resolve_builder
from tests.support.runs import fresh, prepared


def test_experiment_has_the_configured_parts() -> None:
    experiment = prepared("fleet.name=five-tier", "fleet.num_clients=10")
    assert experiment.model_spec == "mlp"
    assert experiment.dataset.name == "digits"
    assert experiment.partition.num_clients == 10
    assignment = experiment.setting.population.assignment
    assert sorted(assignment.tolist()) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert experiment.setting is experiment.algorithm.setting
    assert (experiment.setting.num_clients, experiment.setting.seed) == (10, 0)
    for client_id in range(10):
        expected = experiment.fleet.profiles[assignment[client_id]]
        assert experiment.setting.profile_of(client_id, 0) is expected


def test_initial_parameters_have_the_default_distribution() -> None:
    experiment = prepared()
    assert experiment.initial.dtype == np.float32
    bound = 1 / 64**0.5  # torch's default for a layer of 64 inputs
    first = experiment.initial[: 64 * 200]
    assert np.abs(first).max() <= bound
    assert np.abs(first).max() > 0.99 * bound


def test_built_model_has_the_layout_of_the_initial_parameters() -> None:
    experiment = prepared()
    flat = FlatModule(experiment.build())
    assert flat.layout == experiment.setting.layout
    assert flat.layout.size == experiment.initial.size == 34_110


def test_prepare_does_not_change_the_generator_of_torch() -> None:
    before = torch.get_rng_state()
    fresh("seed=77")
    assert torch.equal(torch.get_rng_state(), before)


def test_same_config_gives_the_same_fingerprint() -> None:
    first, second = (fresh("seed=5") for _ in range(2))
    assert first is not second
    assert first.fingerprint() == second.fingerprint()
    expected = {"data", "partition", "model", "initial_parameters", "fixed_state", "fleet"}
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
    assert found.keys() >= {"torch", "cpu"}
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


class TestInit:
    """`model.init`: a file with initial parameters."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Path:
        """A file with the tensors of the perceptron, each filled with its index."""
        layout = prepared().setting.layout
        path = tmp_path / "start.safetensors"
        save_file({s.name: torch.full(s.shape, float(i)) for i, s in enumerate(layout.segments)}, path)
        return path

    def _with(self, path: Path) -> Experiment:
        return fresh(f"model.init={path}")

    def test_run_starts_from_the_file(self, start: Path) -> None:
        experiment = self._with(start)
        expected = np.concatenate(
            [np.full(s.size, i, np.float32) for i, s in enumerate(experiment.setting.layout.segments)]
        )
        assert np.array_equal(experiment.initial, expected)
        assert experiment.fingerprint()["initial_parameters"] == params_sha256(expected)

    def test_other_dtypes_are_converted(self, start: Path) -> None:
        layout = prepared().setting.layout
        doubles = {s.name: torch.full(s.shape, 0.1, dtype=torch.float64) for s in layout.segments}
        save_file(doubles, start)
        assert set(self._with(start).initial.tolist()) == {float(np.float32(0.1))}

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"fc1.weight": torch.zeros(200, 65)}, r"fc1\.weight .*\(200, 65\).*\(200, 64\)"),
            ({"fc3.bias": None}, r"fc3\.bias .*\(10,\)"),
            ({"extra": torch.zeros(1)}, r"extra .*\(1,\)"),
        ],
    )
    def test_tensors_of_another_model_are_rejected(
        self, start: Path, change: dict[str, torch.Tensor | None], named: str
    ) -> None:
        layout = prepared().setting.layout
        tensors = {s.name: torch.zeros(s.shape) for s in layout.segments} | change
        save_file({n: t for n, t in tensors.items() if t is not None}, start)
        with pytest.raises(ModelError, match=named) as caught:
            self._with(start)
        assert (caught.value.field, caught.value.value) == ("model.init", start)

    def test_values_that_are_not_finite_are_rejected(self, start: Path) -> None:
        layout = prepared().setting.layout
        tensors = {s.name: torch.zeros(s.shape) for s in layout.segments}
        tensors["fc2.bias"][3] = torch.nan
        save_file(tensors, start)
        with pytest.raises(ModelError, match=r"fc2\.bias") as caught:
            self._with(start)
        assert (caught.value.field, caught.value.value) == ("model.init", start)

    def test_state_dict_is_read_with_and_without_counters(self, start: Path) -> None:
        name = "model.name=tests.support.models:dropout"
        with torch.random.fork_rng(devices=[]):
            state = resolve_builder("tests.support.models:dropout")((1, 8, 8), 10).state_dict()
        state["2.running_mean"] += 3
        for missing in (set(), {"2.num_batches_tracked"}):
            save_file({n: t for n, t in state.items() if n not in missing}, start)
            experiment = fresh(name, f"model.init={start}")
            views = experiment.setting.layout.views(torch.from_numpy(experiment.initial.copy()))
            assert all(torch.equal(view, state[n]) for n, view in views.items())

    @pytest.mark.parametrize("content", [None, b"", b"garbage" * 10])
    def test_invalid_file_is_rejected(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "start.safetensors"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read") as caught:
            self._with(path)
        assert caught.value.field == "model.init"


def test_double_softmax_adds_a_softmax_without_parameters() -> None:
    experiment = prepared("model.double_softmax=true")
    module = experiment.build()
    output = module(torch.rand(3, 1, 8, 8))
    assert isinstance(module, nn.Sequential)
    assert torch.allclose(output.sum(dim=1), torch.ones(3))
    assert experiment.setting.layout == prepared().setting.layout


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (("algorithm.name=randommask", "sparsity.level=0.9999"), "sparsity.level"),
        (("algorithm.name=feddst", "sparsity.level=0.9999"), "sparsity.level"),
        (("sparsity.level=0.5",), "sparsity.level"),
        (("data.partition.kind=natural",), "data.partition.kind"),
        (("fleet.name=none",), "fleet.name"),
        (("model.name=none",), "model.name"),
        (("data.name=none",), "data.name"),
    ],
)
def test_invalid_experiments_are_rejected(overrides: tuple[str, ...], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        fresh(*overrides)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("model", "smallest"),
    [("normalised", 2), ("standardised", 2), ("normalised_maps", 1), ("linear", 1), ("dropout", 2)],
)
def test_smallest_training_batch_of_a_model(model: str, smallest: int) -> None:
    assert fresh(f"model.name=tests.support.models:{model}").setting.smallest_batch == smallest


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        (("training.batch_size=1",), "training.batch_size", 1),
        (
            ("data.partition.kind=quantity", "data.partition.min_samples=1", "fleet.num_clients=500"),
            "data.partition.min_samples",
            1,
        ),
    ],
)
def test_batches_too_small_for_batch_statistics_are_rejected(
    overrides: tuple[str, ...], field: str, value: int
) -> None:
    assert prepared("model.name=tests.support.models:linear", *overrides).setting.smallest_batch == 1
    with pytest.raises(ConfigError) as caught:
        fresh("model.name=tests.support.models:normalised", *overrides)
    assert (caught.value.field, caught.value.value) == (field, value)


@pytest.mark.parametrize("model", ["two_heads", "no_gradient"])
def test_a_model_that_cannot_be_trained_is_rejected_before_the_run(model: str) -> None:
    name = f"tests.support.models:{model}"
    with pytest.raises(ModelError, match="in training mode") as caught:
        fresh(f"model.name={name}")
    assert (caught.value.field, caught.value.value) == ("model.name", name)


def test_prepare_does_not_change_statistics() -> None:
    """`prepare` tests the model on a copy."""
    experiment = fresh("model.name=tests.support.models:normalised")
    views = experiment.setting.layout.views(torch.from_numpy(experiment.initial.copy()))
    assert views["2.running_mean"].tolist() == [0.0] * 32
    assert views["2.running_var"].tolist() == [1.0] * 32


def test_model_without_submodels_is_rejected_with_its_layer(tmp_path: Path) -> None:
    """Only methods with submodels reject the model, which a user's file defines."""
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.conv, self.fc = nn.Conv2d(1, 4, 1), nn.Linear(256, num_classes)\n\n"
        "    def forward(self, images):\n"
        "        return self.fc(self.conv(images).view(-1, 256))\n\n\n"
        "def net(input_shape, num_classes):\n"
        "    return Net(num_classes)\n"
    )
    assert prepared(f"model.name={file}:net").setting.units == ()
    with pytest.raises(ModelError, match="view after conv") as caught:
        prepared(f"model.name={file}:net", "algorithm.name=heterofl")
    assert (caught.value.field, caught.value.value) == ("model.name", f"{file}:net")
