"""Defaults of the contract: rejected options, plans, weights, hooks, and checks for finite values."""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from orchestrator.config.sections import AlgorithmConfig
from orchestrator.federation.aggregate import Aggregate, CoverageMean, WeightedMean
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.traits import Traits
from orchestrator.sparsity.payload import Dense, Masked, Payload, Scalar
from tests.support.errors import rejects
from tests.support.fakes import (
    DEVICE,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 3, 3)


class Plain(Algorithm[ServerState, None]):
    """FedAvg under another name."""


class Sparse(Algorithm[ServerState, None]):
    """A method with a mask, which follows a schedule."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        aggregation="covmean", default_density=0.5, density_schedule=True
    )


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 3))


def make(
    kind: type[Algorithm[ServerState, None]] = Plain,
    *,
    seed: int = 0,
    num_clients: int = 10,
    **options: object,
) -> Algorithm[ServerState, None]:
    sections: dict[str, dict[str, object]] = {"training": {}, "sparsity": {}}
    for key, value in options.items():
        section, _, name = key.partition("__")
        sections[section][name] = value
    setting = make_setting(seeded(net), SHAPE, num_clients=num_clients, seed=seed, **sections)
    return kind(AlgorithmConfig(name=kind.__name__.lower()), setting)


def test_dense_method_rejects_a_sparsity_level() -> None:
    with rejects("sparsity.level", 0.5):
        make(sparsity__level=0.5)
    assert make(sparsity__level=0.0).density(0) == 1.0


def test_method_with_constant_sparsity_rejects_a_schedule() -> None:
    with rejects("sparsity.schedule.kind", "linear"):
        make(sparsity__schedule={"kind": "linear", "final_level": 0.5})


def test_level_is_the_configured_one_or_the_methods_default() -> None:
    assert make(Sparse).density(3) == 0.5
    assert make(Sparse, sparsity__level=0.75).density(3) == 0.25
    assert make(Sparse, sparsity__level=0.0).density(3) == 1.0


def test_density_follows_the_schedule() -> None:
    """From 0.5 to 0.9 linearly over half of 8 rounds."""
    moving = make(Sparse, sparsity__schedule={"kind": "linear", "final_level": 0.9}, training__rounds=8)
    assert [moving.density(r) for r in (0, 1, 4, 7)] == pytest.approx([0.5, 0.4, 0.1, 0.1])


def test_plan_has_the_cohort_in_sampled_order() -> None:
    algorithm = make()
    plan = algorithm.plan(algorithm.init(torch.zeros(30)), 4, (7, 1, 7))
    assert plan.round_idx == 4
    assert [(t.round_idx, t.position, t.client_id) for t in plan.tasks] == [(4, 0, 7), (4, 1, 1), (4, 2, 7)]


def test_weights_are_sample_counts() -> None:
    assert [make().weight(n) for n in (1, 40, 299)] == [1.0, 40.0, 299.0]


def test_aggregator_has_the_named_kind_and_is_new_each_time() -> None:
    assert isinstance(make().aggregator(), WeightedMean)
    sparse = make(Sparse)
    assert isinstance(sparse.aggregator(), CoverageMean)
    assert sparse.aggregator() is not sparse.aggregator()


def test_server_rounds_to_float32_once() -> None:
    """1 + 2**-30 is no float32. `server_update` receives it unrounded and returns 1."""
    algorithm = make()
    aggregate = Aggregate(torch.full((30,), 1.0 + 2.0**-30, dtype=torch.float64), None, 1.0)
    state = algorithm.server_update(ServerState(params=torch.zeros(30)), aggregate, 0)
    assert state.params.dtype == torch.float32
    assert state.params.tolist() == [1.0] * 30


def test_method_without_state_has_none_per_client() -> None:
    assert make().init_client(3) is None


def test_broadcast_is_the_model_under_the_servers_mask() -> None:
    algorithm, params = make(Sparse), torch.arange(30, dtype=torch.float32)
    (whole,) = algorithm.broadcast(ServerState(params=params))
    assert isinstance(whole, Dense)
    assert whole.values.tolist() == params.tolist()
    mask = torch.ones(30, dtype=torch.bool)
    mask[:20] = False
    (kept,) = algorithm.broadcast(ServerState(params=params, mask=mask))
    assert isinstance(kept, Masked)
    assert kept.values.tolist() == list(range(20, 30))


def test_update_that_is_not_finite_is_an_error_with_a_remedy() -> None:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"lr": 1e38})
    algorithm = Plain(AlgorithmConfig(), setting)
    with pytest.raises(FloatingPointError, match=r"training\.lr.*clip_norm"):
        algorithm.client_update(make_run(setting, flat, random_data(9, SHAPE, 3)))


class Diverging(Algorithm[ServerState, Tensor]):
    """Trains a finite model, but stores a state with NaN."""

    def after_train(self, run: LocalRun[Tensor]) -> None:
        run.state = torch.tensor([0.0, float("nan")])


def test_client_state_that_is_not_finite_is_an_error() -> None:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE)
    with pytest.raises(FloatingPointError, match="not finite"):
        Diverging(AlgorithmConfig(), setting).client_update(make_run(setting, flat, random_data(9, SHAPE, 3)))


class Overflowing(nn.Module):
    """Has finite weights, and a buffer of limits that the first forward pass sets to -inf."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        self.net = net()
        self.register_buffer("limits", torch.zeros(2), persistent=persistent)

    def forward(self, images: Tensor) -> Tensor:
        self.limits = torch.tensor([0.0, -torch.inf])
        logits: Tensor = self.net(images)
        return logits


@pytest.mark.parametrize("persistent", [False, True])
def test_only_values_that_are_sent_must_be_finite(persistent: bool) -> None:
    flat = seeded(lambda: Overflowing(persistent=persistent))
    setting = make_setting(flat, SHAPE)
    run = make_run(setting, flat, random_data(9, SHAPE, 3))
    if persistent:
        with pytest.raises(FloatingPointError, match="buffer limits"):
            Plain(AlgorithmConfig(), setting).client_update(run)
    else:
        Plain(AlgorithmConfig(), setting).client_update(run)
        assert bool(run.values.isfinite().all())


Trace = tuple[str, ...]


class Tracer(Algorithm[ServerState, Trace]):
    """Stores the order of the hooks in the client's state."""

    def load(self, run: LocalRun[Trace]) -> None:
        super().load(run)
        run.state = ("load",)

    def on_train_start(self, run: LocalRun[Trace]) -> None:
        run.state += ("start",)

    def grad_hook(self, run: LocalRun[Trace]) -> None:
        run.state += ("grad",)

    def on_batch(self, run: LocalRun[Trace], batches_done: int) -> None:
        run.state += (f"batch {batches_done} of {run.num_batches}",)

    def on_epoch(self, run: LocalRun[Trace], epochs_done: int) -> None:
        run.state += (f"epoch {epochs_done}",)

    def after_train(self, run: LocalRun[Trace]) -> None:
        run.state += ("after",)

    def pack(self, run: LocalRun[Trace]) -> Payload:
        run.state += ("pack",)
        return super().pack(run)


def test_hooks_are_called_in_order() -> None:
    """Five images in batches of three give two steps an epoch. The state that `pack` assigns is kept too."""
    flat = seeded(net)
    setting = make_setting(flat, SHAPE, training={"batch_size": 3, "local_epochs": 2})
    run = make_run(setting, flat, random_data(5, SHAPE, 3))
    result = Tracer(AlgorithmConfig(), setting).client_update(run)
    steps = ("grad", "batch 1 of 2", "grad", "batch 2 of 2")
    expected = ("load", "start", *steps, "epoch 1", *steps, "epoch 2", "after", "pack")
    assert result.client_state == expected
    assert result.num_examples == 5


def test_defaults_plan_no_probes_and_send_no_unicast() -> None:
    algorithm = make()
    state = algorithm.init(torch.zeros(30))
    task = ClientTask(round_idx=0, position=0, client_id=3)
    assert algorithm.plan_probe(state, 0, (1, 2)) is None
    assert algorithm.unicast(state, task, None) == ()
    assert algorithm.shared_mask(None) is None
    assert not algorithm.has_client_models
    with pytest.raises(NotImplementedError, match=r"Plain.*probe_update"):
        algorithm.probe_update(state, Aggregate(torch.zeros(30), None, 1.0), 0)


@pytest.mark.parametrize(("personal", "cuts"), [(True, False), (False, True), (True, True)])
def test_personal_methods_and_methods_with_submodels_have_client_models(personal: bool, cuts: bool) -> None:
    class Own(Plain):
        traits = Traits(personal=personal)
        capabilities = Capabilities(submodels=cuts)

    assert make(Own).has_client_models


class PerDevice(Sparse):
    """A method whose clients may have different levels."""

    capabilities: ClassVar[Capabilities] = replace(Sparse.capabilities, device_densities=True)


def test_method_without_device_densities_rejects_device_levels() -> None:
    with rejects("sparsity.device_levels", {"default": 0.9}):
        make(Sparse, sparsity__device_levels={"default": 0.9})


def test_capability_as_a_class_attribute_is_an_error() -> None:
    with pytest.raises(TypeError, match="upload_mask"):
        type("Misplaced", (Algorithm,), {"upload_mask": "within"})


def test_level_of_an_unknown_device_is_rejected() -> None:
    with rejects("sparsity.device_levels.slow", 0.9):
        make(PerDevice, sparsity__device_levels={"slow": 0.9})


def test_client_has_the_level_of_its_device() -> None:
    """Odd clients have the small device. In 2 of 4 rounds the schedule moves 0.5 to 0.9 and 0.7 to 0.9."""
    profiles = (DEVICE, replace(DEVICE, name="small"))
    schedule = {"kind": "linear", "final_level": 0.9}
    setting = make_setting(
        seeded(net),
        SHAPE,
        profiles=profiles,
        training={"rounds": 4},
        sparsity={"device_levels": {"small": 0.7}, "schedule": schedule},
    )
    algorithm = PerDevice(AlgorithmConfig(name="perdevice"), setting)
    assert [algorithm.density(r, 0) for r in range(3)] == pytest.approx([0.5, 0.3, 0.1])
    assert [algorithm.density(r, 1) for r in range(3)] == pytest.approx([0.3, 0.2, 0.1])
    assert algorithm.density(0) == 0.5
    assert [algorithm.max_density(r, 1) for r in range(3)] == pytest.approx([0.3, 0.3, 0.2])
    assert make().max_density(3, 1) == 1.0


class Answering(Tracer):
    """Answers a probe with its client id."""

    def on_probe(self, run: LocalRun[Trace]) -> Payload:
        run.state += ("probe",)
        return (Scalar("id", float(run.task.client_id)),)


def test_probe_loads_the_model_and_answers_without_training() -> None:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE)
    run = make_run(setting, flat, random_data(5, SHAPE, 3), kind="probe", client_id=7)
    result = Answering(AlgorithmConfig(), setting).client_update(run)
    assert result.client_state == ("load", "probe")
    assert result.payload == (Scalar("id", 7.0),)
    assert (result.num_examples, result.train_flops, dict(result.metrics)) == (5, 0.0, {})
    assert torch.equal(run.values, run.start)


def test_personal_model_is_the_received_model_by_default() -> None:
    flat = seeded(net)
    setting = make_setting(flat, SHAPE)
    mask = torch.ones(30, dtype=torch.bool)
    mask[:9] = False
    received = ModelValues(torch.arange(30.0) * mask, mask)
    run = make_run(setting, flat, random_data(5, SHAPE, 3), received=received, kind="evaluate")
    Plain(AlgorithmConfig(), setting).personal(run)
    assert torch.equal(run.values, received.values)
    assert run.mask is mask
