"""Stores a whole model in one flat float32 vector.

`ParameterLayout` describes the segments of the vector, and `FlatModule` makes a module's tensors views into the vector.

Legend: D = entries of the flat vector, T = trainable entries (they come first), W = maskable entries,
U = D - W = entries that are always dense.

Clients train the vector and the server averages it. It contains the trainable parameters and the layers' statistics.
All other state of the model is *fixed*: every task and every evaluation starts with its initial value.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.memory_format import MemoryFormat, channels_last

SegmentKind = Literal["weight", "bias", "norm", "buffer"]

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One tensor of the model in the flat vector: the entries from `offset` to `offset + size`.

    `batch_norm`: the tensor is a parameter or a statistic of a batch norm layer.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    kind: SegmentKind
    maskable: bool
    batch_norm: bool = False

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def slice(self) -> slice:
        """The segment's entries in the flat vector."""
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class ParameterLayout:
    """The ordered segments of a flat float32[D] vector: trained parameters in module order, then the statistics.

    The statistics are the persistent float32 buffers with finite initial values. Frozen parameters and all other
    buffers (BatchNorm's counters, index tables, masks of -inf) are not part of the vector.

    Parameters of two or more dimensions (conv, linear, recurrent and embedding weights) are maskable, including those
    of the first and the last layer. `with_dense` excludes parameters from masking. Biases, norm parameters and
    buffers are always dense.
    """

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, module: nn.Module) -> "ParameterLayout":
        """Return the layout of a module.

        Raises ModelError for a trained parameter that is not float32, and for a module without trained parameters.
        """
        norms = {
            id(p) for m in module.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)
        }
        batch_norms = {
            id(t)
            for m in module.modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm)
            for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))
        }
        segments: list[Segment] = []
        offset = 0
        for name, tensor in (*_trained(module), *_statistics(module)):
            if tensor.requires_grad and tensor.dtype != torch.float32:
                raise ModelError(
                    "model", name, f"the parameter is {tensor.dtype}", "build the model in float32"
                )
            kind: SegmentKind = "weight" if tensor.ndim >= 2 else "bias"
            if not tensor.requires_grad:
                kind = "buffer"
            elif id(tensor) in norms:
                kind = "norm"
            is_batch_norm = id(tensor) in batch_norms
            segments.append(Segment(name, tuple(tensor.shape), offset, kind, kind == "weight", is_batch_norm))
            offset += tensor.numel()
        if not any(s.kind != "buffer" for s in segments):
            problem, remedy = (
                "the model has no parameters that train",
                "add a layer with trainable parameters",
            )
            raise ModelError("model", type(module).__name__, problem, remedy)
        return cls(tuple(segments))

    def with_dense(self, names: Collection[str]) -> "ParameterLayout":
        """Return the layout with these segments dense, that is, not maskable."""
        return ParameterLayout(
            tuple(replace(s, maskable=s.maskable and s.name not in names) for s in self.segments)
        )

    def with_shapes_of(self, module: nn.Module) -> "ParameterLayout":
        """Return the same segments in the same order, with the shapes of another module's tensors."""
        tensors = _named_tensors(module)
        segments, offset = [], 0
        for segment in self.segments:
            resized = replace(segment, shape=tuple(tensors[segment.name].shape), offset=offset)
            segments.append(resized)
            offset += resized.size
        return ParameterLayout(tuple(segments))

    @cached_property
    def size(self) -> int:
        """Number of entries of the flat vector, D."""
        return sum(s.size for s in self.segments)

    @cached_property
    def num_trainable(self) -> int:
        """Number of trainable entries, T: the optimiser updates the entries [0, T)."""
        return sum(s.size for s in self.segments if s.kind != "buffer")

    @cached_property
    def maskable(self) -> tuple[Segment, ...]:
        """The maskable segments, in order."""
        return tuple(s for s in self.segments if s.maskable)

    @cached_property
    def num_maskable(self) -> int:
        """Number of maskable entries, W: the bits of a mask on the wire."""
        return sum(s.size for s in self.maskable)

    @property
    def dense_weights(self) -> tuple[Segment, ...]:
        """The weights of two or more dimensions that are not maskable."""
        return tuple(s for s in self.segments if s.kind == "weight" and not s.maskable)

    @property
    def num_dense(self) -> int:
        """Number of entries that are not maskable, U."""
        return self.size - self.num_maskable

    def full_mask(self) -> Tensor:
        """Return the mask that keeps every entry: bool[D], all True."""
        return torch.ones(self.size, dtype=torch.bool)

    def restrict(self, mask: Tensor) -> Tensor:
        """Return the maskable entries of a mask, in order: bool[D] -> bool[W]."""
        return torch.cat([mask[s.slice] for s in self.maskable]) if self.maskable else mask[:0]

    def expand(self, bits: Tensor) -> Tensor:
        """Return the mask with these maskable entries, and True for every other entry: bool[W] -> bool[D]."""
        mask = self.full_mask()
        start = 0
        for segment in self.maskable:
            mask[segment.slice] = bits[start : start + segment.size]
            start += segment.size
        return mask

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the segments of a float32[D] vector as tensors by name, without a copy."""
        return {s.name: vector[s.slice].view(s.shape) for s in self.segments}

    def active(self, mask: Tensor) -> dict[str, int]:
        """Return the number of True entries of a bool[D] mask in each maskable segment, by name."""
        return {s.name: int(torch.count_nonzero(mask[s.slice])) for s in self.maskable}

    def density(self, mask: Tensor | None) -> float:
        """Return the share of maskable entries that a bool[D] mask keeps.

        The result is 1.0 without a mask, and for a layout without maskable entries.
        """
        if mask is None or not self.num_maskable:
            return 1.0
        return sum(self.active(mask).values()) / self.num_maskable


class FlatModule:
    """A module whose trained parameters, statistics and gradients are views into flat vectors.

    `values` is float32[D] and `grad` is float32[T]. Writing to these vectors changes the module's tensors, and vice
    versa. Loading a model is therefore one copy, and an optimiser step takes a few vector operations.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device | None = None,
        like: ParameterLayout | None = None,
        memory_format: MemoryFormat = "contiguous",
    ) -> None:
        """Replace the module's tensors by views, on `device` (None: the CPU).

        For a copy or a submodel, `like` is the layout of the original model (None: the module is no copy). The vectors
        are the same in every memory format, which is the format of images only.
        """
        device = device or torch.device("cpu")
        self.layout = ParameterLayout.of(module) if like is None else like.with_shapes_of(module)
        self.module = module.to(device)
        self.memory_format = memory_format
        self.values = torch.empty(self.layout.size, device=device)
        self.grad = torch.zeros(self.layout.num_trainable, device=device)
        tensors = _named_tensors(module)
        self._statistics: list[tuple[str, Tensor]] = []
        for segment in self.layout.segments:
            tensor, view = tensors[segment.name], self.values[segment.slice].view(segment.shape)
            view.copy_(tensor.detach())
            tensor.data = view
            if segment.kind == "buffer":
                self._statistics.append((segment.name, tensor))
            else:
                tensor.grad = self.grad[segment.slice].view(segment.shape)
        self._initial_buffers = self._fixed_buffers()

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the module's output.

        When the forward pass assigned a new tensor to a statistic, its values are copied into `values`.
        """
        if self.memory_format == "channels_last":
            inputs = channels_last(inputs)
        output: Tensor = self.module(inputs)
        for name, tensor in self._statistics:
            owner, _, key = name.rpartition(".")
            buffers = self.module.get_submodule(owner)._buffers
            if (found := buffers[key]) is not tensor:
                assert found is not None
                tensor.copy_(found.detach())
                buffers[key] = tensor
        return output

    @contextmanager
    def preserved_buffers(self) -> Iterator[None]:
        """Restore every buffer, including counters, at the end of the block."""
        before = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        try:
            yield
        finally:
            for name, buffer in self.module.named_buffers():
                buffer.copy_(before[name])

    def load(self, values: Tensor) -> None:
        """Copy a float32[D] vector into `values`, zero the gradients, and reset fixed buffers to initial values."""
        self.values.copy_(values)
        self.grad.zero_()
        buffers = dict(self.module.named_buffers())
        for name, initial in self._initial_buffers.items():
            buffers[name].copy_(initial)

    def keep_dense(self, names: Collection[str]) -> None:
        """Make these parameters dense in the layout: no mask may remove their entries."""
        self.layout = self.layout.with_dense(names)

    @property
    def num_frozen(self) -> int:
        """Number of entries of the parameters that do not train."""
        return sum(p.numel() for p in self.module.parameters() if not p.requires_grad)

    def fixed_state(self) -> dict[str, Tensor]:
        """Return copies of all state outside the vector, by name: frozen parameters and initial fixed buffers."""
        own = {segment.name for segment in self.layout.segments}
        frozen = {n: p.detach().clone() for n, p in self.module.named_parameters() if n not in own}
        return frozen | {name: initial.clone() for name, initial in self._initial_buffers.items()}

    def load_fixed_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace the initial values of fixed state. Tensors that `state` does not name keep their values."""
        tensors = _named_tensors(self.module)
        with torch.no_grad():
            for name, value in state.items():
                tensors[name].copy_(value)
        self._initial_buffers = self._fixed_buffers()

    def _fixed_buffers(self) -> dict[str, Tensor]:
        own = {segment.name for segment in self.layout.segments}
        return {n: b.detach().clone() for n, b in self.module.named_buffers() if n not in own}


def _named_tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


def _trained(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((n, p) for n, p in module.named_parameters() if p.requires_grad)


def _statistics(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the persistent float32 buffers with finite values. A buffer with infinite values is a constant."""
    persistent = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    for name, buffer in module.named_buffers():
        if buffer.dtype == torch.float32 and id(buffer) in persistent and bool(buffer.isfinite().all()):
            yield name, buffer
