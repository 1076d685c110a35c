"""Experiments with library models: weights without a mask stay dense, and untrainable models are rejected early."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from orchestrator.errors import ConfigError, ModelError
from orchestrator.experiment.experiment import Experiment, model_notes
from tests.support.runs import committed, drive, fresh
from tests.support.timing import events

LIBRARY = "model.name=tests.support.library_models:"
FEDDST = "algorithm.name=feddst"
SMALL = ("fleet.num_clients=60", "data.partition.kind=iid", "training.rounds=1")
#: name -> size of the weights that stay dense, computed by hand
DENSE = {
    "vit": {"1.class_token": 16, "1.encoder.pos_embedding": (1 + 16) * 16},
    # windows of 2 x 2 have 3 x 3 relative positions, for each of two heads
    "swin": {f"1.features.{i}.0.attn.relative_position_bias_table": 9 * 2 for i in (1, 3)},
    "convnext": {"1.features.1.0.layer_scale": 8, "1.features.3.0.layer_scale": 16},
    "googlenet": {},
    "weight_normed": {f"1.parametrizations.weight.original{i}": 16 * n for i, n in ((0, 1), (1, 1024))},
    "spectral_normed": {"1.weight_orig": 16 * 1024},
    "spare_layer": {"1.spare.weight": 9},
}


def experiment_with(model: str, *overrides: str) -> Experiment:
    return fresh(f"{LIBRARY}{model}", "data.image_size=32", *SMALL, *overrides)


@pytest.mark.filterwarnings("ignore:.*spectral_norm:FutureWarning")
@pytest.mark.parametrize("model", DENSE)
def test_sparse_training_keeps_unmaskable_weights_dense(model: str, tmp_path: Path) -> None:
    experiment = experiment_with(
        model, "algorithm.name=randommask", "sparsity.level=0.8", "sparsity.allocation=erk"
    )
    layout = experiment.setting.layout
    assert {segment.name: segment.size for segment in layout.dense_weights} == DENSE[model]
    assert experiment.setting.cost.positions.keys() == {segment.name for segment in layout.maskable}
    drive(experiment, tmp_path)
    mask = committed(experiment, tmp_path).server_state.mask
    assert mask is not None
    assert all(bool(mask[segment.slice].all()) for segment in layout.dense_weights)
    assert layout.density(mask) == pytest.approx(0.2, abs=0.01)


def test_model_notes_name_each_dense_weight_once() -> None:
    for model, names in DENSE.items():
        lines = model_notes(experiment_with(model))
        assert len(lines) == bool(names)
        assert all(line.count(name) == 1 for line in lines for name in names)
        assert all(f"{sum(names.values()):,}" in line for line in lines)


def test_sparsity_level_needs_a_maskable_weight() -> None:
    with pytest.raises(ConfigError) as caught:
        experiment_with("all_normed", FEDDST, "sparsity.level=0.8")
    assert (caught.value.field, caught.value.value) == ("sparsity.level", 0.8)
    assert experiment_with("all_normed").setting.layout.num_maskable == 0


@pytest.mark.parametrize("model", ["googlenet_with_heads", "two_heads", "traced"])
def test_untrainable_model_is_rejected_before_the_run(model: str) -> None:
    with pytest.raises(ModelError) as caught:
        experiment_with(model)
    assert caught.value.field == "model.name"
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # from torch's own compiler
@pytest.mark.parametrize("model", ["compiled", "compiled_inside", "compiled_in_place"])
def test_compiled_model_is_replaced_by_its_original_module(model: str) -> None:
    experiment, plain = experiment_with(model), experiment_with("plain")
    assert experiment.setting.layout == plain.setting.layout
    assert np.array_equal(experiment.initial, plain.initial)
    modules = list(experiment.new_model().module.modules())
    assert not any("_orig_mod" in module._modules for module in modules)
    assert all(module._compiled_call_impl is None for module in modules)


def test_frozen_parameters_are_not_in_the_vector() -> None:
    experiment = fresh("model.name=tests.support.stateful_models:frozen")
    layout = experiment.setting.layout
    assert layout.size == layout.num_trainable == 128 * 32 + 32 + 32 * 10 + 10
    assert experiment.new_model().num_frozen == 64 * 128 + 128
    before = experiment.new_model().fixed_state()
    assert torch.equal(before["1.weight"], experiment.new_model().module.get_parameter("1.weight"))


@pytest.mark.parametrize("method", ["fedavg", "feddst"])
def test_frozen_parameters_are_neither_sent_nor_trained(method: str, tmp_path: Path) -> None:
    """A message has 12 bytes of its own, 16 to 24 for its item, and 4 for each value of 4,458 or of their mask."""
    experiment = fresh(
        "model.name=tests.support.stateful_models:frozen", f"algorithm.name={method}", "training.rounds=1"
    )
    mask = experiment.algorithm.init(torch.from_numpy(experiment.initial.copy())).mask
    num_sent = (128 + 1) * 32 + (32 + 1) * 10 if mask is None else int(mask.sum())
    drive(experiment, tmp_path)
    assert (mask is None) == (method == "fedavg")
    for event in events(tmp_path):
        assert 12 + 16 <= event["upload_bytes"] - 4 * num_sent <= 12 + 24
    before = experiment.new_model().fixed_state()
    exported = load_file(tmp_path / "model" / "model.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in before.items())
