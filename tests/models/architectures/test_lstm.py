"""The character model: its equations, tracing, masking, training and repeatability."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from orchestrator.models.architectures.lstm import char_lstm
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.registry import construct
from orchestrator.models.shapes import TextShape

NUM_CHARACTERS = 7
SHAPE = TextShape((6,))


def _model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return char_lstm(SHAPE, NUM_CHARACTERS)


def _batch(seed: int = 0, num: int = 5) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, NUM_CHARACTERS, (num, *SHAPE))
    return torch.from_numpy(tokens), torch.from_numpy(rng.integers(0, NUM_CHARACTERS, num))


def _loss(model: nn.Module, seed: int = 0) -> Tensor:
    tokens, labels = _batch(seed)
    return nn.functional.cross_entropy(model(tokens), labels)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def test_logits_equal_the_lstm_equations_step_by_step() -> None:
    """The gates have torch's order: input, forget, candidate, output."""
    model = _model()
    weights = {n: p.detach().numpy().astype(np.float64) for n, p in model.named_parameters()}
    tokens, _ = _batch()
    hidden = cell = np.zeros((len(tokens), 64))
    for step in range(SHAPE[0]):
        features = weights["embedding.weight"][tokens[:, step].numpy()]
        gates = features @ weights["lstm.weight_ih_l0"].T + weights["lstm.bias_ih_l0"]
        gates += hidden @ weights["lstm.weight_hh_l0"].T + weights["lstm.bias_hh_l0"]
        enter, forget, candidate, output = np.split(gates, 4, axis=1)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(candidate)
        hidden = _sigmoid(output) * np.tanh(cell)
    expected = hidden @ weights["fc.weight"].T + weights["fc.bias"]
    np.testing.assert_allclose(model(tokens).detach().numpy(), expected, atol=1e-5)


def test_model_takes_texts_of_any_length() -> None:
    assert _model()(torch.zeros(3, 1, dtype=torch.int64)).shape == (3, NUM_CHARACTERS)
    assert _model()(torch.zeros(3, 90, dtype=torch.int64)).shape == (3, NUM_CHARACTERS)


def test_trace_has_the_layers_as_leaves() -> None:
    graph = fx.Tracer().trace(_model())
    assert [n.target for n in graph.nodes if n.op == "call_module"] == ["embedding", "lstm", "fc"]
    tokens, _ = _batch()
    model = _model()
    assert torch.equal(fx.GraphModule(model, graph)(tokens), model(tokens))


def test_weights_are_maskable_and_biases_are_not() -> None:
    layout = ParameterLayout.of(_model())
    assert [(s.name, s.shape) for s in layout.maskable] == [
        ("embedding.weight", (NUM_CHARACTERS, 8)),
        ("lstm.weight_ih_l0", (256, 8)),
        ("lstm.weight_hh_l0", (256, 64)),
        ("fc.weight", (NUM_CHARACTERS, 64)),
    ]
    assert {s.kind for s in layout.segments if not s.maskable} == {"bias"}


def test_masked_recurrent_weights_have_no_effect() -> None:
    """Without its weights the LSTM depends on its biases only, so that all texts have the same logits."""
    flat = FlatModule(_model())
    for segment in flat.layout.maskable[1:3]:
        flat.values[segment.slice] = 0.0
    logits = flat.module(_batch()[0])
    assert torch.equal(logits, logits[:1].expand_as(logits))


def test_cost_by_hand() -> None:
    model = _model()
    cost = measure_cost(model, ParameterLayout.of(model), SHAPE)
    assert cost.forward_flops() == 2 * (6 * 256 * (8 + 64) + 64 * NUM_CHARACTERS)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 1e-3)])
def test_sgd_on_the_flat_vector_equals_torch_sgd_on_a_copy(momentum: float, weight_decay: float) -> None:
    module = _model()
    twin = copy.deepcopy(module)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=momentum, weight_decay=weight_decay)
    flat = FlatModule(module)
    start = flat.values.clone()
    velocity = torch.zeros_like(flat.grad)
    for seed in range(3):
        optimizer.zero_grad()
        _loss(twin, seed).backward()
        optimizer.step()
        flat.grad.zero_()
        _loss(flat.module, seed).backward()
        velocity.mul_(momentum).add_(flat.grad.add(flat.values, alpha=weight_decay))
        flat.values.add_(velocity, alpha=-0.5)
    assert torch.equal(flat.values, nn.utils.parameters_to_vector(twin.parameters()))
    assert (flat.values != start)[: flat.layout.num_trainable].float().mean() > 0.9


def test_forward_and_backward_passes_are_repeatable_bit_for_bit() -> None:
    runs = []
    for _ in range(3):
        flat = FlatModule(_model())
        loss = _loss(flat.module)
        loss.backward()
        runs.append((loss.detach().clone(), flat.grad.clone()))
    for loss, grad in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert torch.equal(grad, runs[0][1])


def test_copies_are_equal_and_independent() -> None:
    flat = FlatModule(_model())
    twin = copy.deepcopy(flat.module)
    tokens, _ = _batch()
    before = flat.module(tokens)
    assert torch.equal(twin(tokens), before)
    flat.values.mul_(2.0)
    assert torch.equal(twin(tokens), before)
    assert not torch.equal(flat.module(tokens), before)


def test_builder_survives_pickling() -> None:
    build = partial(construct, "char_lstm", char_lstm, SHAPE, NUM_CHARACTERS)
    unpickled = pickle.loads(pickle.dumps(build))  # noqa: S301
    assert unpickled()(_batch()[0]).shape == (5, NUM_CHARACTERS)
