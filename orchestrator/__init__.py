"""Sparsefleet: experiments in sparse, heterogeneous, personalised federated learning, distributed with Ray.

>>> from orchestrator import ExperimentConfig, run          # doctest: +SKIP
>>> summary = run(ExperimentConfig(seed=1))                 # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import compare, load_run, load_sweep, resume, resume_sweep, run, sweep, trainable
    from orchestrator.display.callbacks import RunCallback
    from orchestrator.display.tensorboard_callback import TensorBoardCallback
    from orchestrator.display.wandb_callback import WandbCallback
    from orchestrator.experiment.config import ExperimentConfig
    from orchestrator.storage.summary import RunSummary

    __version__: str

__all__ = [
    "ExperimentConfig",
    "RunCallback",
    "RunSummary",
    "TensorBoardCallback",
    "WandbCallback",
    "__version__",
    "compare",
    "load_run",
    "load_sweep",
    "resume",
    "resume_sweep",
    "run",
    "sweep",
    "trainable",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, because client actors must not load what the public names import."""
    if name == "__version__":
        from orchestrator.version import installed_version

        return installed_version()
    if name == "ExperimentConfig":
        from orchestrator.experiment.config import ExperimentConfig

        return ExperimentConfig
    if name == "RunCallback":
        from orchestrator.display.callbacks import RunCallback

        return RunCallback
    if name == "TensorBoardCallback":
        from orchestrator.display.tensorboard_callback import TensorBoardCallback

        return TensorBoardCallback
    if name == "WandbCallback":
        from orchestrator.display.wandb_callback import WandbCallback

        return WandbCallback
    if name == "RunSummary":
        from orchestrator.storage.summary import RunSummary

        return RunSummary
    if name in __all__:
        from orchestrator import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
