"""Classifies torch's layers and functions by their effect on units."""

from enum import Enum

from torch import fx, nn
from torch.nn.modules import activation, pooling
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.rnn import RNNBase


class OperationKind(Enum):
    """The effect of an operation on units; module `coupling` has a method for each kind."""

    LAYER = "layer"  # has tensors with entries of units, see layers.py
    LAYER_NORM = "layer_norm"
    SOFTMAX = "softmax"
    ELEMENTWISE = "elementwise"
    SPATIAL = "spatial"  # works on the map of each channel, that is, on the dimensions after the first two
    PAD = "pad"
    REDUCTION = "reduction"
    MOVEMENT = "movement"  # only moves entries
    MATMUL = "matmul"  # a product of activations
    ATTENTION = "attention"  # torch's scaled dot-product attention
    MIX = "mix"  # each output depends on several units
    UNKNOWN = "unknown"


#: types of layers and their kind; the first match counts
MODULE_KINDS: tuple[tuple[tuple[type[nn.Module], ...], OperationKind], ...] = (
    ((_ConvNd, nn.Linear, nn.Embedding, RNNBase, _NormBase, nn.GroupNorm, nn.PReLU), OperationKind.LAYER),
    ((nn.LayerNorm, nn.RMSNorm), OperationKind.LAYER_NORM),
    ((nn.Softmax, nn.LogSoftmax), OperationKind.SOFTMAX),
    ((nn.LocalResponseNorm, nn.Softmax2d), OperationKind.MIX),
    (
        (
            _DropoutNd,
            activation.ReLU,
            activation.LeakyReLU,
            activation.RReLU,
            activation.ELU,
            activation.CELU,
            activation.SELU,
            activation.GELU,
            activation.SiLU,
            activation.Mish,
            activation.Hardtanh,
            activation.Hardswish,
            activation.Hardsigmoid,
            activation.Sigmoid,
            activation.LogSigmoid,
            activation.Softplus,
            activation.Softsign,
            activation.Tanh,
            nn.Identity,
        ),
        OperationKind.ELEMENTWISE,
    ),
    (
        (
            pooling._MaxPoolNd,
            pooling._AvgPoolNd,
            pooling._AdaptiveAvgPoolNd,
            pooling._AdaptiveMaxPoolNd,
            nn.Upsample,
            nn.ZeroPad2d,
        ),
        OperationKind.SPATIAL,
    ),
    ((nn.Flatten,), OperationKind.MOVEMENT),
)

_FUNCTIONS: dict[OperationKind, str] = {
    OperationKind.ELEMENTWISE: (
        "add iadd sub isub mul imul div truediv itruediv neg pow abs exp sqrt maximum minimum clamp relu relu6 "
        "leaky_relu elu celu selu gelu silu mish hardtanh hardswish hardsigmoid sigmoid logsigmoid softplus "
        "softsign tanh masked_fill dropout dropout1d dropout2d feature_dropout contiguous clone detach float to"
    ),
    OperationKind.SPATIAL: (
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
        "adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d "
        "adaptive_max_pool3d interpolate"
    ),
    OperationKind.SOFTMAX: "softmax log_softmax",
    OperationKind.PAD: "pad",
    OperationKind.REDUCTION: "mean sum amax amin std var",
    OperationKind.MOVEMENT: (
        "flatten unflatten view reshape permute transpose swapaxes movedim squeeze unsqueeze expand repeat getitem "
        "select cat concat stack chunk unbind"
    ),
    OperationKind.MATMUL: "matmul bmm",
    OperationKind.ATTENTION: "scaled_dot_product_attention",
}

_KIND_OF = {name: kind for kind, names in _FUNCTIONS.items() for name in names.split()}


def function_kind(node: fx.Node) -> OperationKind:
    """Return the kind of a called function or tensor method; `add_`, `torch.add` and `+` have the same kind."""
    target = node.target
    if isinstance(target, str):
        return _KIND_OF.get(target.rstrip("_"), OperationKind.UNKNOWN)
    module = getattr(target, "__module__", None) or "torch"
    if module.partition(".")[0] not in ("torch", "_operator"):
        return OperationKind.UNKNOWN
    return _KIND_OF.get(getattr(target, "__name__", "").rstrip("_"), OperationKind.UNKNOWN)
