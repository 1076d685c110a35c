"""Compiled modules, taken back to the modules that torch.compile was given."""

import torch
from torch import nn

from orchestrator.errors import ModelError


def uncompiled(name: str, module: nn.Module) -> nn.Module:
    """The module with every compiled part replaced by the module below it, under its plain name.

    Compiled code hides its operators from the count of FLOPs, and takes long to start in an actor. Raises
    ModelError, in the name of the model `name`, for TorchScript, below which there is no module.
    """
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules()):
        problem, remedy = "it has a TorchScript module", "return the module that was scripted or traced"
        raise ModelError("model.name", name, problem, remedy)
    module = _below(module)
    for layer in module.modules():
        layer._compiled_call_impl = None  # what nn.Module.compile sets
        for child_name, child in list(layer._modules.items()):
            if child is not None:
                layer._modules[child_name] = _below(child)
    return module


def _below(module: nn.Module) -> nn.Module:
    # the class itself is not asked for: importing it takes seconds and 80 MiB in every actor
    while isinstance(inner := module._modules.get("_orig_mod"), nn.Module):
        module = inner
    return module
