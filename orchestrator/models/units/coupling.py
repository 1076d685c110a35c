"""Follows the units of a model through its forward pass, which torch.fx traces and runs on one batch.

Legend: the *axis* of an activation is the dimension along which the activation has units, and the atom (see
groups.Couplings) at each position of this dimension. An activation without an axis has no units that can be cut.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from orchestrator.errors import ModelError
from orchestrator.models.replica import replica
from orchestrator.models.units.groups import Couplings
from orchestrator.models.units.layers import (
    LayerCall,
    TensorClaims,
    UnitAxis,
    follow_layer,
)
from orchestrator.models.units.operations import MODULE_KINDS, OperationKind, function_kind
from orchestrator.models.units.reshaping import named_sizes, unit_dim

_METHOD_REMEDY = "or use a method without submodels"
#: torch.fx replaces the call of a module in the whole process while it traces
_TRACE = threading.Lock()


def follow_units(module: nn.Module, example: Tensor, couplings: Couplings) -> None:
    """Fill `couplings` from a forward pass of a copy of the module, in evaluation mode on the CPU.

    Raises ModelError for a forward pass that torch.fx cannot trace, and for an operation whose effect on units is
    unknown.
    """
    copied = replica(module).to("cpu").eval()
    try:
        with _TRACE:
            graph = _LayerTracer().trace(copied)
    except Exception as error:
        raise ModelError(
            "model.name",
            type(module).__name__,
            f"torch.fx cannot trace its forward pass: {type(error).__name__}: {error}",
            f"write it without branches on data, {_METHOD_REMEDY}",
        ) from error
    with torch.no_grad():
        _Follower(copied, graph, couplings).run(example)


class _LayerTracer(fx.Tracer):
    """Traces layers of torch.nn, and subclasses with torch's forward, as single operations.

    The modules that other threads call meanwhile are not traced: they compute as always.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential) and type(m).forward.__module__.startswith("torch.nn.")


class _Follower(fx.Interpreter):
    """Runs a graph and derives the axis of every node's result.

    Each OperationKind has a method of the same name, which returns the axis of the result: a UnitAxis, None, or a
    tuple of axes for an operation with several results.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, couplings: Couplings) -> None:
        super().__init__(module, graph=graph)
        self.extra_traceback = False  # extra tracebacks would change the arguments of a ModelError
        self._couplings = couplings
        self._axes: dict[fx.Node, Any] = {}
        self._tensors = TensorClaims(module, couplings)

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        self._axes[n] = self._follow(n, result)
        return result

    def _follow(self, node: fx.Node, result: Any) -> Any:
        """Return the axis of a node's result, and record the couplings that the node causes."""
        if node.op == "output":
            for axis in self._inputs(node):
                self._couplings.fix(axis.atoms)
            return None
        if node.op == "get_attr":
            self._tensors.keep_whole([result])
            return None
        if node.op == "call_module":
            layer = self.submodules[str(node.target)]
            kind = next(
                (kind for types, kind in MODULE_KINDS if isinstance(layer, types)), OperationKind.UNKNOWN
            )
        else:
            if not any(map(_is_tensor, result if isinstance(result, tuple) else (result,))):
                return None
            kind = function_kind(node)
        inputs = list(self._inputs(node))
        if not inputs and kind not in (OperationKind.LAYER, OperationKind.UNKNOWN):
            return None
        follow = getattr(self, f"_{kind.value}")
        return follow(node, inputs[0] if inputs else None, result)

    def _layer(self, node: fx.Node, axis: UnitAxis | None, result: Any) -> Any:
        return follow_layer(
            LayerCall(
                name=str(node.target),
                layer=self.submodules[str(node.target)],
                axis=axis,
                num_inputs=len(node.all_input_nodes),
                result=result,
                tensors=self._tensors,
            )
        )

    def _layer_norm(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        layer = self.submodules[str(node.target)]
        normalised = range(result.ndim - len(layer.normalized_shape), result.ndim)
        return self._mix(node, axis) if axis.dim in normalised else axis

    def _softmax(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        if node.op == "call_module":
            dim = self.submodules[str(node.target)].dim
        else:
            dim = self._argument(node, 1, "dim")
        return self._mix(node, axis) if dim is None or dim % result.ndim == axis.dim else axis

    def _mix(self, node: fx.Node, axis: UnitAxis, result: Any = None) -> UnitAxis | None:
        self._couplings.fix(axis.atoms, (_location(node), "the operation mixes all units"))
        return None

    def _elementwise(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        operands = [n for n in node.all_input_nodes if _is_tensor(self.env[n])]
        return self._joined(node, [(n, self._axes[n]) for n in operands], result)

    def _joined(
        self, node: fx.Node, operands: Sequence[tuple[fx.Node, UnitAxis | None]], result: Tensor
    ) -> UnitAxis | None:
        """Join the units at the same position. Units that are broadcast along this dimension are fixed."""
        offsets = {n: result.ndim - self.env[n].ndim for n, _ in operands}
        dims = {own.dim + offsets[n] for n, own in operands if own is not None}
        if not dims:
            return None
        dim = min(dims)
        complete: list[NDArray[np.int64]] = []
        for n, own in operands:
            size = self.env[n].shape[dim - offsets[n]] if dim >= offsets[n] else 1
            if own is not None and (len(dims) > 1 or len(own.atoms) != result.shape[dim]):
                problem = "its operands have units in different dimensions"
                self._couplings.fix(own.atoms, (_location(node), problem))
            elif own is not None:
                complete.append(own.atoms)
            elif size > 1:
                complete.append(np.zeros(size, np.int64))
        for atoms in complete[1:]:
            self._couplings.join(complete[0], atoms)
        return UnitAxis(dim, complete[0]) if complete else None

    def _matmul(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        """Follow a product of matrices [..., M, K] and [..., K, N]: units along K are mixed and fixed."""
        left, right = self._operands(node, ("input", "other"))
        if min(self.env[left].ndim, self.env[right].ndim) < 2:
            return self._unknown(node, axis, result)
        rows = self._unless_at(node, left, -1)
        columns = self._unless_at(node, right, -2)
        last, shape = result.ndim - 1, (self.env[left].ndim, self.env[right].ndim)
        if rows is not None and columns is None and rows.dim == shape[0] - 2:
            return UnitAxis(last - 1, rows.atoms)
        if columns is not None and rows is None and columns.dim == shape[1] - 1:
            return UnitAxis(last, columns.atoms)
        return self._joined(node, ((left, rows), (right, columns)), result)

    def _attention(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        """Follow torch's attention over queries, keys and values [..., T, S]; units are in the first dimensions."""
        if self._argument(node, 7, "enable_gqa"):
            return self._unknown(node, axis, result)
        operands = [n for n in node.all_input_nodes if _is_tensor(self.env[n])]
        kept = [(n, self._unless_at(node, n, -1, -2)) for n in operands]
        return self._joined(node, kept, result)

    def _unless_at(self, node: fx.Node, operand: fx.Node, *dims: int) -> UnitAxis | None:
        """Return the operand's axis. If it is one of these dimensions, counted from the end, fix its units instead."""
        own: UnitAxis | None = self._axes[operand]
        if own is None or own.dim - self.env[operand].ndim not in dims:
            return own
        return self._mix(node, own)

    def _operands(self, node: fx.Node, names: tuple[str, str]) -> tuple[fx.Node, fx.Node]:
        found = [*node.args, *(node.kwargs[name] for name in names if name in node.kwargs)]
        left, right = found[:2]
        assert isinstance(left, fx.Node)
        assert isinstance(right, fx.Node)
        return left, right

    def _spatial(self, node: fx.Node, axis: UnitAxis, result: Any) -> UnitAxis | None:
        if not _is_tensor(result):
            return self._unknown(node, axis, result)
        if axis.dim != 1 or result.ndim < 3:
            return self._mix(node, axis)
        return axis

    def _pad(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        padding, from_end = self._argument(node, 1, "pad"), 2 * (result.ndim - 1 - axis.dim)
        before, after = (*padding, *[0] * 2 * result.ndim)[from_end : from_end + 2]
        if min(before, after) < 0 or self._argument(node, 2, "mode") not in (None, "constant"):
            return self._unknown(node, axis, result)
        return UnitAxis(axis.dim, np.pad(axis.atoms, (before, after)))

    def _reduction(self, node: fx.Node, axis: UnitAxis, result: Tensor) -> UnitAxis | None:
        dim, ndim = self._argument(node, 1, "dim"), self.env[node.all_input_nodes[0]].ndim
        dims = {d % ndim for d in ([dim] if isinstance(dim, int) else dim or range(ndim))}
        if axis.dim in dims:
            return self._mix(node, axis)
        num_removed = 0 if result.ndim == ndim else sum(d < axis.dim for d in dims)
        return UnitAxis(axis.dim - num_removed, axis.atoms)

    def _movement(self, node: fx.Node, axis: UnitAxis, result: Any) -> Any:
        """Apply the operation to an array of atoms, and find the dimension along which the result has them."""
        source = node.all_input_nodes[0]
        if isinstance(axes := self._axes[source], tuple):
            return axes[self._argument(node, 1, "index")]
        moved = self._moved_atoms(node)
        if isinstance(moved, tuple):
            return self._parts(node, moved)
        varying = _varying(moved)
        lost = np.setdiff1d(np.concatenate([f.atoms for f in self._inputs(node)]), moved)
        sizes = named_sizes(node, self.env[source].ndim)
        if len(varying) == 1 and not len(lost):
            dim, atoms = varying[0], _along(moved, varying[0])
            self._reject_constant_size(node, sizes.get(dim), atoms)
            return UnitAxis(dim, atoms)
        if (heads := unit_dim(sizes, varying)) is not None:
            return self._split(moved, heads)
        return self._fix_inputs(node, "the operation splits the units or selects some of them")

    def _split(self, moved: NDArray[np.int64], dim: int) -> UnitAxis:
        """Join all atoms at the same position along `dim`: the forward pass splits the units into equal groups."""
        by_unit = np.moveaxis(moved, dim, 0).reshape(moved.shape[dim], -1)
        for column in by_unit.T:
            self._couplings.join(by_unit[:, 0], column)
        return UnitAxis(dim, by_unit[:, 0])

    def _parts(self, node: fx.Node, moved: Sequence[NDArray[np.int64]]) -> Any:
        """Return the axis of each part of a tensor.

        The units at the same position of all parts are joined, because the sizes of the parts must stay equal.
        """
        dims = [_varying(part) for part in moved]
        if any(len(d) != 1 or d != dims[0] for d in dims) or len({part.shape for part in moved}) > 1:
            return self._fix_inputs(node, "the operation splits the units into unequal parts")
        axes = tuple(UnitAxis(dims[0][0], _along(part, dims[0][0])) for part in moved)
        for other in axes[1:]:
            self._couplings.join(axes[0].atoms, other.atoms)
        return axes

    def _fix_inputs(self, node: fx.Node, problem: str) -> None:
        for own in self._inputs(node):
            self._couplings.fix(own.atoms, (_location(node), problem))

    def _moved_atoms(self, node: fx.Node) -> Any:
        """Return the atom at each entry of the node's result, int64 of the result's shape; a tuple for several."""
        concatenates = function_kind(node) is OperationKind.MOVEMENT and isinstance(
            node.args[0], list | tuple
        )

        def replace(n: fx.Node) -> Any:
            value, axis = self.env[n], self._axes[n]
            if axis is not None:
                shape = [-1 if d == axis.dim else 1 for d in range(value.ndim)]
                return torch.from_numpy(axis.atoms).view(shape).expand(value.shape).contiguous()
            return (
                torch.zeros(value.shape, dtype=torch.int64) if concatenates and _is_tensor(value) else value
            )

        args, kwargs = fx.node.map_arg(node.args, replace), fx.node.map_arg(node.kwargs, replace)
        moved = getattr(self, node.op)(node.target, args, kwargs)
        return tuple(part.numpy() for part in moved) if isinstance(moved, tuple) else moved.numpy()

    def _reject_constant_size(self, node: fx.Node, size: object, atoms: NDArray[np.int64]) -> None:
        """Raise ModelError for a reshape whose constant size would not fit a submodel."""
        if isinstance(size, int) and size != -1 and self._couplings.can_cut(atoms):
            raise ModelError(
                "model.name",
                _location(node),
                f"the size {size} is constant in the forward pass, so no submodel can have fewer units here",
                f"write flatten(1) or a size of -1, {_METHOD_REMEDY}",
            )

    def _unknown(self, node: fx.Node, axis: UnitAxis | None, result: Any) -> UnitAxis | None:
        if node.op == "call_module":
            self._tensors.keep_whole(self.submodules[str(node.target)].parameters())
        if any(self._couplings.can_cut(own.atoms) for own in self._inputs(node)):
            raise ModelError(
                "model.name",
                _location(node),
                "its effect on channels and neurons is unknown",
                f"use torch.nn layers and elementwise arithmetic instead, {_METHOD_REMEDY}",
            )
        return None

    def _inputs(self, node: fx.Node) -> Iterator[UnitAxis]:
        for n in node.all_input_nodes:
            yield from _leaves(self._axes[n])

    def _argument(self, node: fx.Node, position: int, name: str) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        return args[position] if len(args) > position else kwargs.get(name)


def _leaves(axes: Any) -> Iterator[UnitAxis]:
    if isinstance(axes, UnitAxis):
        yield axes
    elif isinstance(axes, tuple):
        for part in axes:
            yield from _leaves(part)


def _varying(atoms: NDArray[np.int64]) -> list[int]:
    """Return the dimensions along which the atoms differ."""
    return [d for d in range(atoms.ndim) if (atoms != atoms.take([0], d)).any()]


def _along(atoms: NDArray[np.int64], dim: int) -> NDArray[np.int64]:
    """Return the atoms along a dimension, int64[size], where all other dimensions have equal atoms."""
    along: NDArray[np.int64] = np.moveaxis(atoms, dim, -1).reshape(-1, atoms.shape[dim])[0]
    return along


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


def _location(node: fx.Node) -> str:
    """Return a layer's name, or a function's name and the layer in which or after which the function is called."""
    if node.op == "call_module":
        return str(node.target)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    scopes = [scope for scope in node.meta.get("nn_module_stack", {}) if scope]
    if scopes:
        return f"{scopes[-1]}.{name}"
    before = next(iter(node.all_input_nodes), None)
    while before is not None and before.op != "call_module":
        before = next(iter(before.all_input_nodes), None)
    return f"{name} after {before.target}" if before is not None else name
