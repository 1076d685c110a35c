"""Computes the learning rate of each round by a schedule of torch, or by a user's function.

The rates of all rounds are computed once, before the run. Client actors get the numbers, because importing torch.optim
costs each of them 3 s. A resumed run computes the same rates again, from the first round.
"""

import inspect
from collections.abc import Callable
from math import isfinite
from typing import Any

import torch

from orchestrator.config.sections import TrainingConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.plugins.loading import load_object
from orchestrator.suggest import suggest

_KEY = "training.lr_schedule.name"
_OPTIONS = "training.lr_schedule.options"


def with_learning_rates(training: TrainingConfig) -> TrainingConfig:
    """Return the section with the learning rate of each round, or unchanged without a schedule.

    Raises ConfigError for a schedule that does not exist or that needs more than the number of the round, for options
    that it does not accept, and for rates that are negative or not finite.
    """
    name = training.lr_schedule.name
    if name == "none":
        return training
    rates = _own_rates(training) if ":" in name else _torch_rates(training)
    for round_idx, rate in enumerate(rates):
        if not (isfinite(rate) and rate >= 0.0):
            problem = f"the learning rate of round {round_idx} is {rate:g}"
            raise ConfigError(_OPTIONS, dict(training.lr_schedule.options), problem, "use other options")
    return training.with_rates(rates)


def _own_rates(training: TrainingConfig) -> list[float]:
    """Call `function(round_idx, num_rounds, lr, **options)`, which returns the learning rate of a round, 0-based."""
    name = training.lr_schedule.name
    function = load_object(name, _KEY)
    if not callable(function):
        problem = f"it is a {type(function).__name__}, not a function"
        raise ConfigError(_KEY, name, problem, "name a function (round_idx, num_rounds, lr)")
    options = dict(training.lr_schedule.options)
    try:
        return [
            float(function(round_idx, training.rounds, training.lr, **options))
            for round_idx in range(training.rounds)
        ]
    except RequestError:
        raise
    except Exception as error:
        problem = f"the function raised {type(error).__name__}: {error}"
        raise ConfigError(_KEY, name, problem, f"correct the function or {_OPTIONS}") from error


def _torch_rates(training: TrainingConfig) -> list[float]:
    """Let torch's scheduler take one step for each round, and read the rates."""
    schedule = training.lr_schedule
    # CyclicLR and OneCycleLR reject an optimiser without a momentum option
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], training.lr, training.momentum)
    scheduler_class = _scheduler_class(schedule.name)
    try:
        scheduler = scheduler_class(optimizer, **schedule.options)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        problem = f"{schedule.name} rejects these options ({error})"
        raise ConfigError(
            _OPTIONS, dict(schedule.options), problem, "give the arguments of the class"
        ) from error
    group, rates = optimizer.param_groups[0], []
    for round_idx in range(training.rounds):
        if group["momentum"] != training.momentum:
            problem = f"{schedule.name} changes the momentum too, which stays constant here"
            raise ConfigError(_OPTIONS, dict(schedule.options), problem, "set cycle_momentum to false")
        rates.append(float(group["lr"]))
        optimizer.step()  # torch warns about a scheduler whose optimiser takes no steps
        if round_idx + 1 < training.rounds:
            _step(scheduler, training)
    return rates


def _step(scheduler: Any, training: TrainingConfig) -> None:
    try:
        scheduler.step()
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        problem = f"{training.lr_schedule.name} does not last {training.rounds} rounds ({error})"
        options = dict(training.lr_schedule.options)
        raise ConfigError(
            _OPTIONS, options, problem, "use options for more steps, or fewer rounds"
        ) from error


def _scheduler_class(name: str) -> Callable[..., Any]:
    """Return a class of torch.optim.lr_scheduler whose rates depend only on the number of steps."""
    module = torch.optim.lr_scheduler
    known = {
        each: kind
        for each, kind in vars(module).items()
        if inspect.isclass(kind) and issubclass(kind, module.LRScheduler) and not each.startswith("_")
    }
    needs_more = {
        "ReduceLROnPlateau": "it needs a score after each round",
        **dict.fromkeys(("LambdaLR", "MultiplicativeLR"), "it needs a function"),
        **dict.fromkeys(("ChainedScheduler", "SequentialLR"), "it needs other schedulers"),
    }
    usable = {each: kind for each, kind in known.items() if each not in (*needs_more, "LRScheduler")}
    if name not in usable:
        problem = needs_more.get(name, "torch.optim.lr_scheduler has no such schedule")
        remedy = f"choose one of {', '.join(sorted(usable))}, or write path/to/file.py:function"
        raise ConfigError(
            _KEY, name, problem, remedy if name in needs_more else suggest(name, usable, remedy)
        )
    return usable[name]
