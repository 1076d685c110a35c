"""Computes the learning rate of each round, or of each local step of a task, by a schedule of torch or a function.

The rates of all rounds or steps are computed once, before the run. Client actors get the numbers, because importing
torch.optim costs each of them 3 s. A resumed run computes the same rates again, from the first round or step.
"""

import inspect
from collections.abc import Callable, Collection
from math import isfinite
from typing import Any

import torch

from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.plugins.loading import load_function
from orchestrator.suggest import suggest

_KEY = "training.lr_schedule.name"
_OPTIONS = "training.lr_schedule.options"


def with_learning_rates(training: TrainingConfig, task_steps: Collection[int] = ()) -> TrainingConfig:
    """Return the section with the learning rate of each round or local step, or unchanged without a schedule.

    `task_steps` are the numbers of steps of all clients' tasks, for a schedule over steps. A schedule of torch gives
    all clients the same rates; a client with fewer steps takes the first ones. Raises ConfigError for a schedule that
    does not exist or that needs more than the number of the round or step, for options that it does not accept, and
    for rates that are negative or not finite.
    """
    name, per = training.lr_schedule.name, training.lr_schedule.per
    if name == "none":
        return training
    compute = _own_rates if ":" in name else _torch_rates
    if per == "round":
        return training.with_rates(_valid(training, compute(training, training.rounds)))
    if ":" in name:
        return training.with_step_rates(
            {
                num_steps: _valid(training, _own_rates(training, num_steps))
                for num_steps in sorted(set(task_steps))
            }
        )
    longest = _valid(training, _torch_rates(training, max(task_steps)))
    return training.with_step_rates({num_steps: longest[:num_steps] for num_steps in set(task_steps)})


def _valid(training: TrainingConfig, rates: list[float]) -> list[float]:
    schedule = training.lr_schedule
    for index, rate in enumerate(rates):
        if not (isfinite(rate) and rate >= 0.0):
            problem = f"the learning rate of {schedule.per} {index} is {rate:g}"
            raise ConfigError(_OPTIONS, dict(schedule.options), problem, "use other options")
    return rates


def _own_rates(training: TrainingConfig, count: int) -> list[float]:
    """Call `function(index, count, lr, **options)`, which returns the learning rate of a round or step, 0-based."""
    name, per = training.lr_schedule.name, training.lr_schedule.per
    function = load_function(name, _KEY, f"{per}_idx, num_{per}s, lr")
    options = dict(training.lr_schedule.options)
    try:
        return [float(function(index, count, training.lr, **options)) for index in range(count)]
    except RequestError:
        raise
    except Exception as error:
        problem = f"the function raised {type(error).__name__}: {error}"
        raise ConfigError(_KEY, name, problem, f"correct the function or {_OPTIONS}") from error


def _torch_rates(training: TrainingConfig, count: int) -> list[float]:
    """Let torch's scheduler take one step for each round or local step, and read the rates."""
    schedule = training.lr_schedule
    # CyclicLR and OneCycleLR reject an optimiser without a momentum option
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], training.lr, training.momentum)
    scheduler_class = _scheduler_class(schedule.name)
    if "last_epoch" in schedule.options:
        problem = "a run computes all rates from the first one on"
        raise ConfigError(f"{_OPTIONS}.last_epoch", schedule.options["last_epoch"], problem, "leave it out")
    try:
        scheduler = scheduler_class(optimizer, **schedule.options)
    except Exception as error:  # torch checks the arguments of a schedule in many ways
        problem = f"{schedule.name} rejects these options ({error})"
        raise ConfigError(
            _OPTIONS, dict(schedule.options), problem, "give the arguments of the class"
        ) from error
    group, rates = optimizer.param_groups[0], []
    for index in range(count):
        if group["momentum"] != training.momentum:
            problem = f"{schedule.name} changes the momentum too, which stays constant here"
            raise ConfigError(_OPTIONS, dict(schedule.options), problem, "set cycle_momentum to false")
        rates.append(float(group["lr"]))
        optimizer.step()  # torch warns about a scheduler whose optimiser takes no steps
        if index + 1 < count:
            _step(scheduler, training, count)
    return rates


def _step(scheduler: Any, training: TrainingConfig, count: int) -> None:
    try:
        scheduler.step()
    except Exception as error:
        schedule = training.lr_schedule
        problem = f"{schedule.name} does not last {count} {schedule.per}s ({type(error).__name__}: {error})"
        remedy = "correct the arguments of the class"
        if isinstance(error, ValueError):
            remedy += f", or use fewer {'rounds' if schedule.per == 'round' else 'local epochs'}"
        raise ConfigError(_OPTIONS, dict(schedule.options), problem, remedy) from error


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
