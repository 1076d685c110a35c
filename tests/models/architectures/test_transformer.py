"""The transformers: their equations, heads, causality, masking, cost and repeatability."""

import copy
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from orchestrator.models.architectures.transformer import char_transformer, vit
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.shapes import InputShape, TextShape
from orchestrator.models.units.tracing import trace_units

NUM_CHARACTERS = 7
TEXT = TextShape((6,))
IMAGE = (1, 8, 8)
_TENSORS = ("weight", "bias")

Weights = dict[str, NDArray[np.float64]]


def _build(input_shape: InputShape, num_classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return (char_transformer if len(input_shape) == 1 else vit)(input_shape, num_classes)


def _texts(num: int = 5) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, NUM_CHARACTERS, (num, *TEXT)))


def _images(num: int = 3) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(num, *IMAGE)).astype(np.float32))


def _weights(model: nn.Module) -> Weights:
    return {name: p.detach().numpy().astype(np.float64) for name, p in model.named_parameters()}


def _linear(weights: Weights, layer: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]


def _norm(weights: Weights, layer: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{layer}.weight"] + weights[f"{layer}.bias"]


def _attention(weights: Weights, layer: str, x: NDArray[np.float64], *, causal: bool) -> NDArray[np.float64]:
    """Attention of one sample, [T, 64], token by token and head by head: 4 heads of 16 features."""
    query, key, value = (_linear(weights, f"{layer}.{name}", x) for name in ("query", "key", "value"))
    mixed = np.zeros_like(x)
    for head in range(4):
        own = slice(16 * head, 16 * head + 16)
        for token in range(len(x)):
            seen = range(token + 1) if causal else range(len(x))
            scores = np.array([math.exp(query[token, own] @ key[other, own] / 4.0) for other in seen])
            for share, other in zip(scores / scores.sum(), seen, strict=True):
                mixed[token, own] += share * value[other, own]
    return _linear(weights, f"{layer}.out", mixed)


def _blocks(weights: Weights, num: int, x: NDArray[np.float64], *, causal: bool) -> NDArray[np.float64]:
    gelu = np.vectorize(lambda z: z * 0.5 * (1 + math.erf(z / math.sqrt(2))))
    for depth in range(num):
        block = f"blocks.{depth}"
        x = x + _attention(weights, f"{block}.attention", _norm(weights, f"{block}.norm1", x), causal=causal)
        hidden = gelu(_linear(weights, f"{block}.fc1", _norm(weights, f"{block}.norm2", x)))
        x = x + _linear(weights, f"{block}.fc2", hidden)
    return x


def test_logits_of_a_text_equal_the_equations_token_by_token() -> None:
    model, texts = _build(TEXT, NUM_CHARACTERS), _texts()
    weights = _weights(model)
    expected = []
    for text in texts.numpy():
        features = weights["embedding.weight"][text] + weights["positions"]
        last = _blocks(weights, 2, features, causal=True)[-1:]
        expected.append(_linear(weights, "fc", _norm(weights, "norm", last))[0])
    np.testing.assert_allclose(model(texts).detach().numpy(), expected, atol=1e-5)


def test_logits_of_an_image_equal_the_equations_patch_by_patch() -> None:
    model, images = _build(IMAGE, 10), _images()
    weights = _weights(model)
    expected = []
    for image in images.numpy().astype(np.float64):
        patches = [image[0, y : y + 2, x : x + 2].reshape(-1) for y in range(0, 8, 2) for x in range(0, 8, 2)]
        tokens = np.array(patches) @ weights["patches.weight"].reshape(64, 4).T + weights["patches.bias"]
        features = _blocks(weights, 4, tokens + weights["positions"], causal=False)
        expected.append(_linear(weights, "fc", _norm(weights, "norm", features).mean(0)))
    np.testing.assert_allclose(model(images).detach().numpy(), expected, atol=1e-5)


def test_language_model_takes_shorter_texts() -> None:
    """The first positions are those of a shorter text, because no token sees later tokens."""
    model, short = _build(TEXT, NUM_CHARACTERS), _build((3,), NUM_CHARACTERS)
    state = model.state_dict()
    short.load_state_dict({**state, "positions": state["positions"][:3]})
    texts = _texts()[:, :3]
    assert torch.equal(model(texts), short(texts))


def test_no_token_sees_a_later_token() -> None:
    """The features before the last block's norm, of all tokens but the last, do not depend on the last token."""
    model, texts = _build(TEXT, NUM_CHARACTERS), _texts()
    seen: list[Tensor] = []
    model.get_submodule("blocks.1").register_forward_hook(lambda layer, inputs, output: seen.append(output))
    changed = texts.clone()
    changed[:, -1] = (changed[:, -1] + 1) % NUM_CHARACTERS
    assert not torch.equal(model(texts), model(changed))
    assert torch.equal(seen[0][:, :-1], seen[1][:, :-1])
    assert not torch.equal(seen[0][:, -1], seen[1][:, -1])


def test_image_is_extended_by_zeros_to_whole_patches() -> None:
    """18 x 17 pixels have 5 x 5 patches of 4 x 4 pixels."""
    model = _build((1, 18, 17), 10)
    images = torch.rand(2, 1, 18, 17, generator=torch.Generator().manual_seed(0))
    assert model.get_parameter("positions").shape == (25, 64)
    whole = _build((1, 20, 20), 10)
    whole.load_state_dict(model.state_dict())
    assert torch.equal(model(images), whole(nn.functional.pad(images, (0, 3, 0, 2))))


@pytest.mark.parametrize(("shape", "depth"), [(TEXT, 2), (IMAGE, 4)])
def test_attention_projections_are_maskable_and_positions_are_not(shape: InputShape, depth: int) -> None:
    model = _build(shape, 10)
    layout = ParameterLayout.of(model)
    cost = measure_cost(model, layout, shape)
    layout = layout.with_dense([s.name for s in layout.maskable if s.name not in cost.positions])
    projections = [f"attention.{name}.weight" for name in ("query", "key", "value", "out")]
    own = [f"blocks.{d}.{n}" for d in range(depth) for n in (*projections, "fc1.weight", "fc2.weight")]
    first = "embedding.weight" if shape == TEXT else "patches.weight"
    assert {s.name for s in layout.maskable} == {first, *own, "fc.weight"}
    assert [s.name for s in layout.dense_weights] == ["positions"]


def test_masked_value_projection_has_no_effect_on_the_shortcut() -> None:
    """Without values and biases, attention adds its output bias only."""
    model = _build(TEXT, NUM_CHARACTERS)
    attention = model.get_submodule("blocks.0.attention")
    flat = FlatModule(model)
    views = flat.layout.views(flat.values)
    views["blocks.0.attention.value.weight"].zero_()
    views["blocks.0.attention.value.bias"].zero_()
    features = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(0))
    bias = model.get_parameter("blocks.0.attention.out.bias")
    assert torch.allclose(attention(features), bias.expand(2, 6, 64), atol=1e-7)


def test_cost_of_the_language_model_by_hand() -> None:
    """6 tokens, 64 features: four projections and two layers of 128 hidden units in each of two blocks."""
    model = _build(TEXT, NUM_CHARACTERS)
    cost = measure_cost(model, ParameterLayout.of(model), TEXT)
    projections = 6 * (4 * 64 * 64 + 2 * 64 * 128)
    attention = 2 * 6 * 6 * 64  # scores and weighted values of 4 heads of 16 features
    assert cost.other_macs == 2 * attention
    assert cost.forward_flops() == 2 * (2 * (projections + attention) + 64 * NUM_CHARACTERS)
    assert cost.positions["fc.weight"] == 1
    assert cost.positions["embedding.weight"] == 0
    assert cost.positions["blocks.1.attention.key.weight"] == 6


def test_cost_of_the_vision_transformer_by_hand() -> None:
    """16 patches of 2 x 2 pixels, and four blocks."""
    model = _build(IMAGE, 10)
    cost = measure_cost(model, ParameterLayout.of(model), IMAGE)
    block = 16 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 16 * 16 * 64
    assert cost.forward_flops() == 2 * (16 * 4 * 64 + 4 * block + 64 * 10)


@pytest.mark.parametrize("shape", [TEXT, IMAGE])
def test_units_are_heads_and_hidden_units(shape: InputShape) -> None:
    groups = trace_units(_build(shape, 10), _texts() if shape == TEXT else _images())
    depth = 2 if shape == TEXT else 4
    expected = [
        unit for d in range(depth) for unit in ((f"blocks.{d}.attention.query", 4), (f"blocks.{d}.fc1", 128))
    ]
    assert [(group.name, group.num_units) for group in groups] == expected
    heads = {(part.segment, part.dim, part.role): part.index.tolist() for part in groups[0].slices}
    own = [list(range(16 * head, 16 * head + 16)) for head in range(4)]
    attention = "blocks.0.attention"
    rows = [
        (f"{attention}.{layer}.{t}", 0, "output") for layer in ("query", "key", "value") for t in _TENSORS
    ]
    assert heads == {**dict.fromkeys(rows, own), (f"{attention}.out.weight", 1, "input"): own}


@pytest.mark.parametrize("shape", [TEXT, IMAGE])
def test_forward_and_backward_passes_are_repeatable_bit_for_bit(shape: InputShape) -> None:
    inputs = _texts() if shape == TEXT else _images()
    grads = []
    for _ in range(2):
        flat = FlatModule(copy.deepcopy(_build(shape, NUM_CHARACTERS)))
        flat.module(inputs).square().sum().backward()
        grads.append(flat.grad)
    assert torch.equal(grads[0], grads[1])
    assert grads[0].count_nonzero() > 0.8 * grads[0].numel()
