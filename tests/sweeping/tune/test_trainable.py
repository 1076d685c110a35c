"""Experiments in a user's own Tuner: ASHA, population-based training, an interrupted Tuner, client actors."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining

from orchestrator import compare, load_run, sweep, trainable
from orchestrator.config.overrides import put_values
from orchestrator.display.run_progress import Progress
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from tests.support.sweeps import BASE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    # Tune's own loggers leave their files open
    pytest.mark.filterwarnings("ignore:unclosed file .*driver_artifacts:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in.*driver_artifacts:pytest.PytestUnraisableExceptionWarning"
    ),
]


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    """Four short rounds that train in the trial's process, with the runs in `tmp_path`/runs."""
    return put_values(BASE, {"runtime.storage": str(tmp_path / "runs")})


@pytest.fixture
def files(tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[tune.RunConfig]:
    """The folder of Tune's own files; Ray is connected."""
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "1")
    yield tune.RunConfig(name="own", storage_path=str(tmp_path / "tune"), verbose=0)
    gc.collect()  # here, and not in a test that rejects the warnings


def _digest(tree: dict[str, Any], **values: Any) -> str | None:
    """The digest of the parameters after a plain run of this config."""
    keys = {key.replace("__", "."): value for key, value in values.items()}
    return session.run(ExperimentConfig.parse(put_values(tree, keys)), Progress(quiet=True)).params_sha256


def test_asha_stops_trials_and_the_best_has_the_bits_of_a_run(
    base: dict[str, Any], files: tune.RunConfig, tmp_path: Path
) -> None:
    tuner = tune.Tuner(
        trainable(base),
        param_space={"training": {"lr": tune.grid_search([0.1, 1e-6, 1e-5])}, "seed": 3},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            scheduler=ASHAScheduler(time_attr="round", max_t=4, grace_period=1, reduction_factor=3),
            max_concurrent_trials=1,
            reuse_actors=True,
        ),
        run_config=files,
    )
    results = tuner.fit()
    frame = results.get_dataframe()
    assert not results.errors
    assert frame["round"].min() < 4 == frame["round"].max()
    best = results.get_best_result().metrics
    assert best is not None
    assert best["config"] == {"training": {"lr": 0.1}, "seed": 3}
    assert best["params_sha256"] == _digest(base, training__lr=0.1, seed=3)
    run = load_run(best["run_folder"])
    assert {key: best[key] for key, value in run.to_dict().items() if value is not None} == {
        key: value for key, value in run.to_dict().items() if value is not None
    }
    stopped = [load_run(folder) for folder in frame["run_folder"] if folder != best["run_folder"]]
    assert any(run.interrupted for run in stopped)
    assert len(compare([run, *stopped]).rows) == 3


def test_population_copies_a_model_into_a_new_run(
    base: dict[str, Any], files: tune.RunConfig, tmp_path: Path
) -> None:
    """The second trial learns nothing, so it continues from the model of the first."""
    scheduler = PopulationBasedTraining(
        time_attr="round",
        metric="accuracy",
        mode="max",
        perturbation_interval=2,
        hyperparam_mutations={"training.lr": tune.uniform(0.05, 0.1)},
        quantile_fraction=0.5,
        synch=True,
    )
    tuner = tune.Tuner(
        trainable(base),
        param_space={"training.lr": tune.grid_search([0.1, 1e-8])},
        tune_config=tune.TuneConfig(scheduler=scheduler, reuse_actors=True),
        run_config=files,
    )
    results = tuner.fit()
    assert not results.errors
    copied = [result.metrics for result in results if result.metrics["run_folder"].endswith("-g1")]
    assert len(copied) == 1
    runs = {path.name: load_run(path) for path in (tmp_path / "runs").glob("*-*")}
    assert len(runs) == 3
    run = runs[copied[0]["run_id"]]
    (donor,) = (each for name, each in runs.items() if name not in (run.run_id, run.run_id[:-3]))
    ours, theirs = run.to_dataframe(), donor.to_dataframe()
    assert ours["eval/accuracy"].tolist()[:2] == theirs["eval/accuracy"].tolist()[:2]
    assert run.config.training.lr != donor.config.training.lr
    comparison = compare([each.folder for each in runs.values()], storage=tmp_path / "runs")
    assert {each.run_id for each in comparison.runs} == set(runs), "exact names include the superseded run"
    notes = compare(["*"], storage=tmp_path / "runs").notes
    assert any(f"{run.run_id} replaced it" in note for note in notes)


class _Interruption(tune.Callback):
    """Ends the Tuner once, as a crash of its process would, after a trial has reported two rounds."""

    def __init__(self, happened: Path) -> None:
        """`happened` is a file that remembers the end, because Tuner.restore restores the callbacks too."""
        self._happened = happened

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
        """See Callback."""
        if result["round"] == 2 and not self._happened.exists():
            self._happened.touch()
            raise RuntimeError("the Tuner's process ends")


def test_restored_tuner_continues_from_the_checkpoints(
    base: dict[str, Any], files: tune.RunConfig, tmp_path: Path
) -> None:
    files.checkpoint_config = tune.CheckpointConfig(checkpoint_frequency=1)
    files.callbacks = [_Interruption(tmp_path / "interrupted")]
    space = {"algorithm.name": "feddst"}
    with pytest.raises(Exception, match="process ends"):
        tune.Tuner(trainable(base), param_space=space, run_config=files).fit()
    restored = tune.Tuner.restore(str(tmp_path / "tune" / "own"), trainable(base), param_space=space)
    (result,) = restored.fit()
    assert result.metrics is not None
    assert (result.metrics["round"], result.metrics["training_iteration"]) == (4, 4)
    assert result.metrics["params_sha256"] == _digest(base, algorithm__name="feddst")


def test_clients_train_on_actors_in_the_placement_group(
    base: dict[str, Any], files: tune.RunConfig, tmp_path: Path
) -> None:
    tree = put_values(base, {"runtime.executor": "ray", "training.rounds": 2})
    (result,) = tune.Tuner(trainable(ExperimentConfig.parse(tree)), run_config=files).fit()
    assert result.metrics is not None
    assert result.metrics["params_sha256"] == _digest(base, training__rounds=2)


def test_invalid_key_is_rejected_before_a_trial_starts(base: dict[str, Any], files: tune.RunConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        trainable({"training": {"lrr": 1}})
    assert caught.value.field == "training.lrr"
    with pytest.raises(Exception, match=r"training\.lrr"):
        tune.Tuner(trainable(base), param_space={"training.lrr": 1}, run_config=files).fit()


def test_sweep_of_a_mapping_uses_the_connected_ray(base: dict[str, Any], local_ray: None) -> None:
    result = sweep(
        {"training": {"lr": tune.uniform(0.05, 0.1)}},
        config=base,
        num_samples=2,
        display=SweepProgress(quiet=True),
    )
    assert result.num_finished == 2
    assert all(0.05 <= rate <= 0.1 for rate in result.to_dataframe()["training.lr"])
    assert ray.is_initialized()
