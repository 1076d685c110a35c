"""The built-in models by name, and the construction of a module from a config."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from orchestrator.config.sections import ModelConfig
from orchestrator.errors import ConfigError, ModelError, RequestError
from orchestrator.models.memory_format import MemoryFormat
from orchestrator.models.outputs import ChosenOutput
from orchestrator.models.shapes import InputKind, InputShape, example_input, input_kind
from orchestrator.models.uncompile import uncompile
from orchestrator.plugins.loading import load_object
from orchestrator.suggest import suggest

#: (input_shape, num_classes) -> module from float32[B, C, H, W], float32[B, F] or int64[B, T] to
#: float32[B, num_classes] logits
Builder = Callable[[InputShape, int], nn.Module]

_NOUNS: dict[InputKind, str] = {"image": "images", "vector": "vectors", "text": "texts"}

#: `auto` chooses a perceptron for images with a side below this, in pixels, and `cnn_cifar` for larger images
_SMALL_SIDE = 16


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A built-in model.

    `path` is `module:function`, `summary` its line in a list, `takes` the kinds of its inputs, and `memory_format` the
    faster one for images.
    """

    path: str
    summary: str
    takes: tuple[InputKind, ...] = ("image",)
    memory_format: MemoryFormat = "contiguous"


MODELS: dict[str, ModelEntry] = {
    "mlp": ModelEntry(
        "orchestrator.models.architectures.mlp:mlp",
        "perceptron, 200 and 100 hidden units",
        takes=("image", "vector"),
    ),
    "lenet_mnist": ModelEntry(
        "orchestrator.models.architectures.cnn:lenet_mnist",
        "FedDST's net for MNIST",
        memory_format="channels_last",
    ),
    "lenet_cifar": ModelEntry(
        "orchestrator.models.architectures.cnn:lenet_cifar",
        "FedDST's net for CIFAR-10",
        memory_format="channels_last",
    ),
    "lenet_cifar100": ModelEntry(
        "orchestrator.models.architectures.cnn:lenet_cifar100",
        "FedDST's net for CIFAR-100",
        memory_format="channels_last",
    ),
    "cnn_emnist": ModelEntry("orchestrator.models.architectures.cnn:cnn_emnist", "FedDST's net for EMNIST"),
    "cnn_mnist": ModelEntry(
        "orchestrator.models.architectures.cnn:cnn_mnist",
        "FedLPS's small net for MNIST",
        memory_format="channels_last",
    ),
    "cnn_cifar": ModelEntry(
        "orchestrator.models.architectures.cnn:cnn_cifar",
        "DisPFL's net for CIFAR",
        memory_format="channels_last",
    ),
    "vgg11": ModelEntry(
        "orchestrator.models.architectures.vgg:vgg11",
        "FedLPS's VGG-11, batch norm without running statistics",
    ),
    "resnet18": ModelEntry(
        "orchestrator.models.architectures.resnet:resnet18", "SSFL's ResNet-18, group norm"
    ),
    "vit": ModelEntry(
        "orchestrator.models.architectures.transformer:vit",
        "vision transformer, 4 blocks of 4 heads, 64 features",
    ),
    "char_lstm": ModelEntry(
        "orchestrator.models.architectures.lstm:char_lstm",
        "LSTM over the characters of a text, 64 hidden units",
        takes=("text",),
    ),
    "char_transformer": ModelEntry(
        "orchestrator.models.architectures.transformer:char_transformer",
        "causal language model over characters, 2 blocks of 4 heads",
        takes=("text",),
    ),
}


def resolve_name(name: str, input_shape: InputShape, default: str | None) -> str:
    """Return the model's name; for `auto` return the data set's default model, `default`.

    When the data set has no default, `auto` is `char_lstm` for text, `mlp` for vectors and for images with a side below
    16 pixels, and `cnn_cifar` for larger images. Raises ModelError for a built-in model that takes other inputs.
    """
    kind = input_kind(input_shape)
    default = default or _default_model(input_shape)
    chosen = default if name == "auto" else name
    if chosen in MODELS and kind not in MODELS[chosen].takes:
        taken = " or ".join(_NOUNS[each] for each in MODELS[chosen].takes)
        raise ModelError(
            "model.name",
            chosen,
            f"the model takes {taken}, but the data set contains {_NOUNS[kind]}",
            f"use {default}, or another data.name",
        )
    return chosen


def _default_model(input_shape: InputShape) -> str:
    kind = input_kind(input_shape)
    if kind == "text":
        return "char_lstm"
    return "mlp" if kind == "vector" or min(input_shape[1:]) < _SMALL_SIDE else "cnn_cifar"


def resolve_memory_format(config: ModelConfig, name: str, input_shape: InputShape) -> MemoryFormat:
    """Return the configured memory format of the model `name`; `auto` is contiguous for a model that is not built in.

    Raises ConfigError when channels-last format is configured for vectors or texts.
    """
    if config.memory_format == "auto":
        return MODELS[name].memory_format if name in MODELS else "contiguous"
    if config.memory_format == "channels_last" and (kind := input_kind(input_shape)) != "image":
        raise ConfigError(
            "model.memory_format", "channels_last", f"{_NOUNS[kind]} have no channels", "use auto"
        )
    return config.memory_format


def resolve_builder(name: str) -> Builder:
    """Return the builder of a built-in model, `package.module:function` or `path/to/file.py:function`.

    Raises ModelError for an unknown name and for an object that cannot be called, and ConfigError for an object that
    cannot be loaded.
    """
    if name not in MODELS and ":" not in name:
        known = f"choose one of {', '.join(MODELS)}, or path/to/file.py:function"
        remedy = suggest(name, MODELS, known)
        raise ModelError("model.name", name, "there is no such model", remedy)
    builder = load_object(MODELS[name].path if name in MODELS else name, "model.name")
    if not callable(builder):
        problem = f"it is a {type(builder).__name__}, not a function"
        raise ModelError("model.name", name, problem, "name a function (input_shape, num_classes)")
    return cast(Builder, builder)


def build_model(
    config: ModelConfig, input_shape: InputShape, num_classes: int, default: str | None
) -> nn.Module:
    """Construct the model that a config names. The caller loads the weights of `config.init`."""
    name = resolve_name(config.name, input_shape, default)
    builder = resolve_builder(name)
    return construct(
        name,
        builder,
        input_shape,
        num_classes,
        output=config.output,
        double_softmax=config.double_softmax,
    )


def construct(
    name: str,
    builder: Builder,
    input_shape: InputShape,
    num_classes: int,
    *,
    output: str | None = None,
    double_softmax: bool = False,
) -> nn.Module:
    """Return a new module in training mode, which maps a batch of inputs to float32[B, num_classes].

    The module's initial weights come from torch's global generator, which the caller seeds. `output` is the position
    or the name of the logits in a model with several outputs (None: it has one). With `double_softmax` a softmax
    follows the logits. Errors call the model `name`.

    Raises ModelError when building fails, and when a forward pass of two black images (vectors of 0, texts of token 0)
    fails or returns another shape.
    """
    noun = _NOUNS[input_kind(input_shape)]
    try:
        model = builder(input_shape, num_classes)
    except RequestError:
        raise
    except Exception as error:
        raise _failure(name, f"building the model for {noun} of {input_shape} raised", error) from error
    if not isinstance(model, nn.Module):
        raise ModelError(
            "model.name",
            name,
            f"the function returned a {type(model).__name__}",
            "return a torch.nn.Module from the function",
        )
    model = uncompile(name, model)
    if output is not None:
        model.register_forward_hook(ChosenOutput(output))
    _check_output(name, noun, model, input_shape, num_classes)
    return _with_softmax(model) if double_softmax else model


def _check_output(name: str, noun: str, model: nn.Module, input_shape: InputShape, num_classes: int) -> None:
    model.eval()
    try:
        with torch.no_grad():
            output = model(example_input(input_shape))
    except RequestError:
        raise
    except Exception as error:
        raise _failure(name, f"a forward pass of {noun} of {input_shape} raised", error) from error
    model.train()
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, num_classes):
        several = "return one tensor of logits, or choose one of the outputs with model.output"
        raise ModelError(
            "model.name",
            name,
            f"the model returns {shape} for two {noun}, not {(2, num_classes)}",
            several if isinstance(shape, str) else "return one logit per sample and class",
        )


def _with_softmax(model: nn.Module) -> nn.Module:
    """Return the model followed by a softmax.

    A plain nn.Sequential keeps its parameters' names, so that weights saved without the softmax can be loaded.
    """
    if type(model) is nn.Sequential:
        return model.append(nn.Softmax(dim=1))
    return nn.Sequential(model, nn.Softmax(dim=1))


def _failure(name: str, action: str, error: Exception) -> ModelError:
    problem = f"{action} {type(error).__name__}: {error}"
    return ModelError("model.name", name, problem, "correct the model or choose another model")
