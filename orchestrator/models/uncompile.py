"""Replaces compiled modules by the modules that were passed to torch.compile."""

import torch
from torch import nn

from orchestrator.errors import ModelError


def uncompile(name: str, module: nn.Module) -> nn.Module:
    """Return the module with every compiled part replaced by its original module, under its original name.

    The FLOP count cannot see the operators of compiled code, and compiled code starts slowly in an actor.

    Raises ModelError for the model `name` when it contains TorchScript, whose original module is not accessible.
    """
    if any(isinstance(layer, torch.jit.ScriptModule) for layer in module.modules()):
        problem, remedy = "it contains a TorchScript module", "return the module that was scripted or traced"
        raise ModelError("model.name", name, problem, remedy)
    module = _original(module)
    for layer in module.modules():
        layer._compiled_call_impl = None  # nn.Module.compile sets this attribute
        for child_name, child in list(layer._modules.items()):
            if child is not None:
                layer._modules[child_name] = _original(child)
    return module


def _original(module: nn.Module) -> nn.Module:
    # no isinstance check: importing torch's class for compiled modules takes seconds and 80 MiB in every actor
    while isinstance(inner := module._modules.get("_orig_mod"), nn.Module):
        module = inner
    return module
