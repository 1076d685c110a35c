"""Models for tests of submodels: built-in models, and custom models with other layers and operations."""

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.registry import resolve_builder
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import KeptUnits, shrink, submodel_index
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import normalised_net

BUILTIN: dict[str, tuple[int, ...]] = {
    "mlp": (1, 8, 8),
    "lenet_mnist": (1, 28, 28),
    "lenet_cifar": (3, 32, 32),
    "cnn_emnist": (1, 8, 8),
    "cnn_mnist": (1, 28, 28),
    "cnn_cifar": (3, 32, 32),
    "vgg11": (3, 32, 32),
    "resnet18": (3, 16, 16),
    "vit": (3, 8, 8),
    "char_lstm": (5,),
    "char_transformer": (5,),
}


def unit_mask(layout: ParameterLayout, groups: Sequence[UnitGroup], kept: KeptUnits) -> Tensor:
    """bool[D], False for every entry of a dropped unit. A slow oracle that does not use `submodel_index`."""
    mask = torch.ones(layout.size, dtype=torch.bool)
    segments = {segment.name: segment for segment in layout.segments}
    for group in groups:
        dropped = set(range(group.num_units)) - set(
            kept.get(group.name, torch.arange(group.num_units)).tolist()
        )
        for part in group.slices:
            if part.segment in segments:
                segment = segments[part.segment]
                positions = torch.from_numpy(part.index[sorted(dropped)].reshape(-1))
                mask[segment.slice].view(segment.shape).index_fill_(part.dim, positions, False)
    return mask


class Forward(nn.Module):
    """A module with layers by name, and a function as its forward pass."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self, inputs)


def characters(num_layers: int = 1) -> nn.Module:
    return Forward(
        lambda m, x: m.head(m.lstm(m.embed(x))[0][:, -1]),
        embed=nn.Embedding(11, 8),
        lstm=nn.LSTM(8, 32, num_layers, batch_first=True),
        head=nn.Linear(32, 11),
    )


def _last_state(m: Any, x: Tensor) -> Any:
    _, (hidden, _) = m.lstm(m.embed(x))
    return m.head(hidden[-1])


def tied() -> nn.Module:
    embed, head = nn.Embedding(11, 8), nn.Linear(8, 11)
    head.weight = embed.weight
    return Forward(
        lambda m, x: m.head(m.lstm(m.embed(x))[0].mean(dim=1)),
        embed=embed,
        lstm=nn.LSTM(8, 8, batch_first=True),
        head=head,
    )


def _squeeze_and_excite(m: Any, x: Tensor) -> Any:
    x = m.conv(x)
    gate = m.up(m.down(x.mean((2, 3))).relu()).sigmoid()
    return m.head((x * gate[:, :, None, None]).amax((-2, -1)))


def _padded_shortcut(m: Any, x: Tensor) -> Any:
    x = m.stem(x)
    wide = pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))
    return m.head(torch.flatten(torch.relu(m.conv(x) + wide), 1))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention over heads of 4 entries, from three tensors [B, H, T, 4]."""
    return (query @ key.transpose(-2, -1) / 2.0).softmax(-1) @ value


def _merged(m: Any, x: Tensor, mixed: Tensor) -> Any:
    return m.head((x + m.out(mixed.transpose(1, 2).flatten(2))).mean(1))


def _separate_heads(m: Any, x: Tensor) -> Any:
    x = m.norm(m.embed(x))
    heads = [layer(x).unflatten(2, (-1, 4)).transpose(1, 2) for layer in (m.query, m.key, m.value)]
    return _merged(m, x, _attend(*heads))


def _chunked_heads(m: Any, x: Tensor) -> Any:
    x = m.norm(m.embed(x))
    query, key, value = m.packed(x).chunk(3, dim=-1)
    heads = [t.view(t.size(0), t.size(1), -1, 4).transpose(1, 2) for t in (query, key, value)]
    return _merged(m, x, _attend(*heads))


def _permuted_heads(m: Any, x: Tensor) -> Any:
    x = m.norm(m.embed(x))
    packed = m.packed(x).reshape(x.size(0), x.size(1), 3, -1, 4).permute(2, 0, 3, 1, 4)
    query, key, value = packed.unbind(0)
    return _merged(m, x, scaled_dot_product_attention(query, key, value, is_causal=True))


def _attention(function: Callable[..., Tensor], **layers: nn.Module) -> nn.Module:
    return Forward(
        function,
        embed=nn.Embedding(11, 8),
        norm=nn.LayerNorm(8),
        **layers,
        out=nn.Linear(12, 8),
        head=nn.Linear(8, 3),
    )


def _gated(m: Any, x: Tensor) -> Any:
    left, right = m.wide(m.embed(x)).chunk(2, dim=-1)
    return m.head((left * right.sigmoid()).sum(1))


def _mixed_rows(m: Any, x: Tensor) -> Any:
    """A constant matrix over the characters times units as columns, and units as rows times the matrix."""
    x = m.wide(m.embed(x))
    x = torch.full((5, 5), 0.25) @ x
    return m.head((x.transpose(1, 2) @ torch.full((5, 5), 0.25)).transpose(1, 2).mean(1))


#: shapes of input batches: texts and images
CHARACTERS, PICTURES = (3, 5), (3, 3, 8, 8)
#: models with layers and operations that no built-in model has, and the shape of an input batch for each
CUSTOM: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "batch norm": (lambda: normalised_net((3, 8, 8), 4), PICTURES),
    "lstm": (characters, CHARACTERS),
    "lstm of two layers": (lambda: characters(2), CHARACTERS),
    "lstm state": (
        lambda: Forward(_last_state, embed=nn.Embedding(11, 4), lstm=nn.LSTM(4, 8, 2), head=nn.Linear(8, 3)),
        CHARACTERS,
    ),
    "flattened gru": (
        lambda: Forward(
            lambda m, x: m.head(m.gru(m.embed(x))[0].reshape(x.size(0), -1)),
            embed=nn.Embedding(11, 4),
            gru=nn.GRU(4, 8, batch_first=True),
            head=nn.Linear(40, 3),
        ),
        CHARACTERS,
    ),
    "tied embedding": (tied, CHARACTERS),
    "attention heads": (
        lambda: _attention(
            _separate_heads, query=nn.Linear(8, 12), key=nn.Linear(8, 12), value=nn.Linear(8, 12)
        ),
        CHARACTERS,
    ),
    "chunked attention heads": (lambda: _attention(_chunked_heads, packed=nn.Linear(8, 36)), CHARACTERS),
    "permuted attention heads": (lambda: _attention(_permuted_heads, packed=nn.Linear(8, 36)), CHARACTERS),
    "gate": (
        lambda: Forward(_gated, embed=nn.Embedding(11, 4), wide=nn.Linear(4, 16), head=nn.Linear(8, 3)),
        CHARACTERS,
    ),
    "products with constants": (
        lambda: Forward(_mixed_rows, embed=nn.Embedding(11, 4), wide=nn.Linear(4, 8), head=nn.Linear(8, 3)),
        CHARACTERS,
    ),
    "text convolution": (
        lambda: Forward(
            lambda m, x: m.head(m.norm(m.conv(m.embed(x).transpose(1, 2))).mean(-1)),
            embed=nn.Embedding(11, 4),
            conv=nn.Conv1d(4, 8, 3),
            norm=nn.InstanceNorm1d(8),
            head=nn.Linear(8, 3),
        ),
        CHARACTERS,
    ),
    "depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.PReLU(8),
            nn.Conv2d(8, 16, 3, groups=8),
            nn.BatchNorm2d(16),
            nn.SiLU(),
            nn.ConvTranspose2d(16, 4, 2),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 4),
        ),
        PICTURES,
    ),
    "group norm": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.GroupNorm(8, 16, affine=False), nn.GELU(), nn.Flatten(), nn.Linear(576, 3)
        ),
        PICTURES,
    ),
    "concatenation": (
        lambda: Forward(
            lambda m, x: m.head(m.norm(torch.cat([m.left(x), x, m.right(x)], 1)).flatten(1)),
            left=nn.Conv2d(3, 4, 1),
            right=nn.Conv2d(3, 8, 1),
            norm=nn.BatchNorm2d(15),
            head=nn.Linear(960, 3),
        ),
        PICTURES,
    ),
    "squeeze and excite": (
        lambda: Forward(
            _squeeze_and_excite,
            conv=nn.Conv2d(3, 8, 3),
            down=nn.Linear(8, 4),
            up=nn.Linear(4, 8),
            head=nn.Linear(8, 3),
        ),
        PICTURES,
    ),
    "padded shortcut": (
        lambda: Forward(
            _padded_shortcut,
            stem=nn.Conv2d(3, 4, 3, padding=1),
            conv=nn.Conv2d(4, 8, 3, stride=2, padding=1),
            head=nn.Linear(128, 3),
        ),
        PICTURES,
    ),
}


class Cut:
    """A model with random weights, biases, norms and statistics, its groups of units, and an input batch."""

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(5)
        self.batch = (
            torch.from_numpy(self.rng.integers(0, 11, shape))
            if len(shape) == 2
            else torch.from_numpy(self.rng.normal(size=shape).astype(np.float32))
        )
        self.groups = trace_units(module, self.batch)
        self.flat = FlatModule(module.eval())
        self.layout = self.flat.layout
        for segment in self.layout.segments:
            scale = np.prod(segment.shape[1:]) ** -0.5 if segment.maskable else 0.5
            values = torch.from_numpy(self.rng.normal(scale=scale, size=segment.size).astype(np.float32))
            # buffers may be variances, which are positive
            self.flat.values[segment.slice] = values.abs() + 0.1 if segment.kind == "buffer" else values
        self.values = self.flat.values.clone()

    def counts(self, ratio: float) -> dict[str, int]:
        """Numbers of kept units for a keep ratio."""
        return {group.name: ceil(ratio * group.num_units) for group in self.groups}

    def random_units(self, ratio: float, *, ordered: bool = True) -> KeptUnits:
        """Random units for a keep ratio, in ascending or random order."""
        kept = {}
        for group in self.groups:
            units = self.rng.permutation(group.num_units)[: ceil(ratio * group.num_units)]
            kept[group.name] = torch.from_numpy(np.sort(units) if ordered else units)
        return kept

    def masked_output(self, kept: KeptUnits) -> Tensor:
        """Output of the full model with the entries of other units at zero."""
        self.flat.load(self.values * unit_mask(self.layout, self.groups, kept))
        with torch.no_grad():
            output: Tensor = self.flat.module(self.batch)
        return output

    def submodel(self, kept: KeptUnits) -> FlatModule:
        """The submodel of these units, with the full model's values."""
        num_kept = {name: len(units) for name, units in kept.items()}
        flat = FlatModule(shrink(self.flat.module, self.groups, num_kept).eval())
        flat.load(self.values[submodel_index(self.layout, self.groups, kept)])
        return flat

    def submodel_output(self, kept: KeptUnits) -> Tensor:
        with torch.no_grad():
            output: Tensor = self.submodel(kept).module(self.batch)
        return output


def builtin(name: str) -> Cut:
    """A built-in model."""
    shape = BUILTIN[name]
    return Cut(resolve_builder(name)(shape, 11 if len(shape) == 1 else 10), (2, *shape))


def custom(name: str) -> Cut:
    """A model of `CUSTOM`."""
    build, shape = CUSTOM[name]
    return Cut(build(), shape)
