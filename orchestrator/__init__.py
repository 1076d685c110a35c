"""Sparsefleet: experiments in sparse, heterogeneous, personalised federated learning, distributed with Ray.

>>> from orchestrator import ExperimentConfig, run          # doctest: +SKIP
>>> summary = run(ExperimentConfig(seed=1))                 # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import resume, resume_sweep, run, sweep
    from orchestrator.experiment.config import ExperimentConfig

__all__ = ["ExperimentConfig", "resume", "resume_sweep", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are first used: client actors need none of what they bring along."""
    if name == "ExperimentConfig":
        from orchestrator.experiment.config import ExperimentConfig

        return ExperimentConfig
    if name in __all__:
        from orchestrator import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
