"""One flat float32 vector for a whole model: `ParameterLayout` names its parts, `FlatModule` binds them.

Legend: D = entries of the flat vector, T = trainable entries (they come first), W = maskable entries,
U = D - W = entries that are always dense.

The vector is what clients train and the server averages: trainable parameters and the statistics of the layers.
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

SegmentKind = Literal["weight", "bias", "norm", "buffer"]

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One tensor of the model inside the flat vector: entries `offset` to `offset + size`."""

    name: str
    shape: tuple[int, ...]
    offset: int
    kind: SegmentKind
    maskable: bool

    @property
    def size(self) -> int:
        """Number of entries."""
        return prod(self.shape)

    @property
    def slice(self) -> slice:
        """Where the segment lies in the flat vector."""
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class ParameterLayout:
    """Ordered segments of a flat float32[D] vector: trained parameters in module order, then the statistics.

    The statistics are the persistent float32 buffers whose initial values are finite. Frozen parameters and
    all other buffers (BatchNorm's counters, index tables, masks of -inf) are not part of the vector.

    Parameters of two or more dimensions (conv, linear, recurrent and embedding weights) are maskable,
    the first and the last layer included, unless `keeping_dense` names them; biases, norm parameters and
    buffers are always dense.
    """

    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, module: nn.Module) -> "ParameterLayout":
        """Lay out a module. Raises ModelError for a trained parameter that is not float32 or a model without any."""
        norms = {
            id(p) for m in module.modules() if isinstance(m, _NORMS) for p in m.parameters(recurse=False)
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
            segments.append(Segment(name, tuple(tensor.shape), offset, kind, kind == "weight"))
            offset += tensor.numel()
        if not any(s.kind != "buffer" for s in segments):
            raise ModelError(
                "model", type(module).__name__, "the model has no parameters that train", "give it some"
            )
        return cls(tuple(segments))

    def keeping_dense(self, names: Collection[str]) -> "ParameterLayout":
        """The same layout, in which no mask may thin out these segments."""
        return ParameterLayout(
            tuple(replace(s, maskable=s.maskable and s.name not in names) for s in self.segments)
        )

    def fitted_to(self, module: nn.Module) -> "ParameterLayout":
        """The same segments in the same order, with the shapes that the tensors of another module have."""
        tensors = _named_tensors(module)
        segments, offset = [], 0
        for segment in self.segments:
            fitted = replace(segment, shape=tuple(tensors[segment.name].shape), offset=offset)
            segments.append(fitted)
            offset += fitted.size
        return ParameterLayout(tuple(segments))

    @cached_property
    def size(self) -> int:
        """D: entries of the flat vector."""
        return sum(s.size for s in self.segments)

    @cached_property
    def num_trainable(self) -> int:
        """T: the optimiser owns the entries [0, T)."""
        return sum(s.size for s in self.segments if s.kind != "buffer")

    @cached_property
    def maskable(self) -> tuple[Segment, ...]:
        """The segments a mask may thin out, in order."""
        return tuple(s for s in self.segments if s.maskable)

    @cached_property
    def num_maskable(self) -> int:
        """W: bits of a mask on the wire."""
        return sum(s.size for s in self.maskable)

    @property
    def dense_weights(self) -> tuple[Segment, ...]:
        """Weights of two or more dimensions that no mask may thin out."""
        return tuple(s for s in self.segments if s.kind == "weight" and not s.maskable)

    @property
    def num_dense(self) -> int:
        """U: entries that are always present."""
        return self.size - self.num_maskable

    def full_mask(self) -> Tensor:
        """bool[D], all True: nothing is masked."""
        return torch.ones(self.size, dtype=torch.bool)

    def restrict(self, mask: Tensor) -> Tensor:
        """bool[D] -> bool[W]: the maskable entries of a mask, in order."""
        return torch.cat([mask[s.slice] for s in self.maskable]) if self.maskable else mask[:0]

    def expand(self, bits: Tensor) -> Tensor:
        """bool[W] -> bool[D]: the mask with those maskable entries and every dense entry True."""
        mask = self.full_mask()
        start = 0
        for segment in self.maskable:
            mask[segment.slice] = bits[start : start + segment.size]
            start += segment.size
        return mask

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """The named, shaped tensors of a float32[D] vector, without a copy."""
        return {s.name: vector[s.slice].view(s.shape) for s in self.segments}

    def active(self, mask: Tensor) -> dict[str, int]:
        """Number of True entries of a bool[D] mask in each maskable segment, by name."""
        return {s.name: int(torch.count_nonzero(mask[s.slice])) for s in self.maskable}

    def density(self, mask: Tensor | None) -> float:
        """Share of maskable entries that a bool[D] mask keeps; 1.0 for no mask or no maskable entry."""
        if mask is None or not self.num_maskable:
            return 1.0
        return sum(self.active(mask).values()) / self.num_maskable


class FlatModule:
    """A module whose trained parameters, statistics and gradients are views into flat vectors.

    `values` is float32[D], `grad` float32[T]; writing either writes the module's tensors and the other
    way round, so that loading a model is one copy and an optimiser step a handful of vector operations.
    """

    def __init__(
        self, module: nn.Module, device: torch.device | None = None, like: ParameterLayout | None = None
    ) -> None:
        """Takes the module over: its tensors are replaced by views (on `device`, the CPU when None).

        `like` is the layout of a model of which this one is a copy or a submodel; None: a model of its own.
        """
        device = device or torch.device("cpu")
        self.layout = ParameterLayout.of(module) if like is None else like.fitted_to(module)
        self.module = module.to(device)
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
        self._start = self._fixed_buffers()

    def __call__(self, inputs: Tensor) -> Tensor:
        """The module's output. Statistics that its forward pass replaced, not updated, get into `values` too."""
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
    def untouched_buffers(self) -> Iterator[None]:
        """Put every buffer, counters included, back as it was when the block ends."""
        before = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        try:
            yield
        finally:
            for name, buffer in self.module.named_buffers():
                buffer.copy_(before[name])

    def load(self, values: Tensor) -> None:
        """Copy a float32[D] vector in, zero the gradients and put fixed buffers back to where they started."""
        self.values.copy_(values)
        self.grad.zero_()
        buffers = dict(self.module.named_buffers())
        for name, start in self._start.items():
            buffers[name].copy_(start)

    def keep_dense(self, names: Collection[str]) -> None:
        """From now on no mask may thin out these parameters."""
        self.layout = self.layout.keeping_dense(names)

    @property
    def num_frozen(self) -> int:
        """Entries of the parameters that do not train."""
        return sum(p.numel() for p in self.module.parameters() if not p.requires_grad)

    def fixed_state(self) -> dict[str, Tensor]:
        """Copies of all state outside the vector, by name: frozen parameters and fixed buffers."""
        own = {segment.name for segment in self.layout.segments}
        frozen = {n: p.detach().clone() for n, p in self.module.named_parameters() if n not in own}
        return frozen | {name: start.clone() for name, start in self._start.items()}

    def load_fixed_state(self, state: Mapping[str, Tensor]) -> None:
        """Start from these values of `fixed_state`; what `state` does not name stays."""
        tensors = _named_tensors(self.module)
        with torch.no_grad():
            for name, value in state.items():
                tensors[name].copy_(value)
        self._start = self._fixed_buffers()

    def _fixed_buffers(self) -> dict[str, Tensor]:
        own = {segment.name for segment in self.layout.segments}
        return {n: b.detach().clone() for n, b in self.module.named_buffers() if n not in own}


def _named_tensors(module: nn.Module) -> dict[str, Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


def _trained(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((n, p) for n, p in module.named_parameters() if p.requires_grad)


def _statistics(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Persistent float32 buffers that a mean is defined for; one that starts at infinity is a constant."""
    persistent = {id(tensor) for tensor in module.state_dict(keep_vars=True).values()}
    for name, buffer in module.named_buffers():
        if buffer.dtype == torch.float32 and id(buffer) in persistent and bool(buffer.isfinite().all()):
            yield name, buffer
