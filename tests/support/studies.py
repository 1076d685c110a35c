"""Builders for tests of studies: a small study on the digits, and contrast results with given outcomes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import p_value, spread
from orchestrator.studies.contrasts import ContrastResult
from orchestrator.studies.execution.folder import StudyFolder, StudyState
from orchestrator.studies.library import read_study
from orchestrator.studies.plan import Cell, StudyPlan
from orchestrator.studies.report.write import write_study_report
from orchestrator.studies.results import StudyResults, compute_results
from orchestrator.studies.schema import LOGGED, Scale, Study
from orchestrator.tracking.record import RoundRecord

#: a study that runs in seconds: two methods and an ablation on the digits
SMALL = """
title: A small study.
question: Does a mask cost accuracy on the digits?
paper: none
learning_rates: [0.05, 0.1]
config:
  model: {name: mlp}
  fleet: {num_clients: 6}
  training: {clients_per_round: 3, local_epochs: 1}
scales:
  quick:
    config: {training: {rounds: 6}}
    tuning: {training: {rounds: 2}}
  paper:
    config: {training: {rounds: 60}}
settings:
  digits:
    title: Digits
    data: digits
    tuned_by: accuracy
    config: {data: {partition: {alpha: 1.0}}}
    scales:
      quick: {upload_cap: 900kB}
      paper: {upload_cap: 9MB}
arms:
  dense: {label: FedAvg, config: {algorithm: {name: fedavg}}}
  masked:
    label: FedDST
    config: {algorithm: {name: feddst}, sparsity: {level: 0.8}}
    tune: {algorithm.alpha: [0.05, 0.2]}
  frozen:
    label: RandomMask
    config: {algorithm: {name: randommask}, sparsity: {level: 0.8}}
    tuned_with: masked
measures:
  accuracy: {metric: accuracy, direction: higher}
  upload: {metric: upload_bytes, direction: lower}
contrasts:
  at-cap: {a: [masked], b: [dense, frozen], measure: accuracy, at: cap}
  upload: {a: [masked], b: [dense], measure: upload, at: end}
claims:
  better:
    text: The mask is better at equal upload.
    published: +10 points
    source: nowhere
    rule: {kind: difference, contrasts: [at-cap], margin: 0.1}
  cheaper:
    text: The mask halves the upload.
    published: 2x
    source: nowhere
    rule: {kind: cost_ratio, contrasts: [upload], at_most: 0.5}
  large:
    text: The mask is better on large models.
    published: +5 points
    source: nowhere
    scales: [paper]
    rule: {kind: difference, contrasts: [at-cap]}
"""


def small_study(folder: Path, text: str = SMALL) -> Path:
    """Write a study file and return its path."""
    file = folder / "small.yaml"
    file.write_text(text)
    return file


def parsed(folder: Path, text: str = SMALL) -> Study:
    """Parse the text of a study file."""
    return read_study(small_study(folder, text))


#: the small study with a second setting, for which the cap is higher
TWO_SETTINGS = SMALL.replace(
    "settings:\n",
    """settings:
  large-clients:
    title: Digits, three clients
    data: digits
    tuned_by: accuracy
    config: {fleet: {num_clients: 3}}
    scales:
      quick: {upload_cap: 1800kB}
      paper: {upload_cap: 18MB}
""",
)


def small_plan(
    folder: Path,
    *,
    scale: Scale = "quick",
    num_seeds: int = 2,
    text: str = SMALL,
    settings: tuple[str, ...] = (),
) -> StudyPlan:
    """Return a plan of a small study."""
    return StudyPlan(
        name="small",
        study=parsed(folder, text),
        scale=scale,
        num_seeds=num_seeds,
        data=folder,
        chosen_settings=settings,
    )


def contrast(
    values_a: Sequence[float | None],
    values_b: Sequence[float | None],
    *,
    corrected: float | None = None,
    **fields: Any,
) -> ContrastResult:
    """Return a result with these outcomes of the seeds 0, 1, ...; `corrected` is by default the p-value itself."""
    differences = [None if a is None or b is None else a - b for a, b in zip(values_a, values_b, strict=True)]
    known = [value for value in differences if value is not None]
    value = p_value(known) if len(known) == len(differences) else None
    named = {
        "contrast": "c",
        "setting": "digits",
        "a": "first",
        "b": "second",
        "measure": "accuracy",
        "metric": "accuracy",
        "higher_is_better": True,
        "at": "end",
        **fields,
    }
    return ContrastResult(
        **named,
        seeds=tuple(range(len(values_a))),
        values_a=tuple(values_a),
        values_b=tuple(values_b),
        difference=spread(differences),
        p_value=value,
        corrected=value if corrected is None else corrected,
    )


def compared_run(
    folder: Path,
    seed: int,
    values: Sequence[float],
    *,
    upload: float = 100.0,
    metric: str = LOGGED["accuracy"],
) -> ComparedRun:
    """Return a run that logged `values` in its rounds, and uploaded `upload` bytes in each of them."""
    records = tuple(
        RoundRecord(idx, idx, {metric: value, LOGGED["upload_bytes"]: upload * (idx + 1)})
        for idx, value in enumerate(values)
    )
    return ComparedRun(
        run_id=folder.name,
        name=folder.name,
        folder=folder,
        config={"seed": seed, "algorithm.name": folder.name.rpartition("-")[0]},
        tags={"method": "fedavg", "sparsity": "0.8"},
        sweep=None,
        status="finished",
        superseded_by=None,
        fingerprint={"data": "d", "partition": f"p{seed}"},
        records=records,
    )


def study_state(**changes: Any) -> StudyState:
    """Return the state of a small study that has just started."""
    fields: dict[str, Any] = {
        "name": "small",
        "scale": "quick",
        "num_seeds": 3,
        "data": "data",
        "overrides": {},
        "command": "sparsefleet reproduce small.yaml",
        "packages": {"sparsefleet": "0.1.0"},
        "git_commit": "abc",
        **changes,
    }
    return StudyState(**fields)


#: values that tuning chose in the small study
CHOSEN = {
    Cell("digits", "dense"): {"training.lr": 0.1},
    Cell("digits", "masked"): {"training.lr": 0.05, "algorithm.alpha": 0.2},
}
#: uploaded bytes a round of the arms of the small study
UPLOAD = {"dense": 500_000.0, "masked": 100_000.0, "frozen": 100_000.0}


def small_results(
    folder: Path, accuracy: Mapping[str, float], text: str = SMALL, seeds: int = 3
) -> StudyResults:
    """Return the results of the small study for runs of ten rounds with these accuracies; the seeds differ by 0.001."""
    runs = {
        Cell("digits", arm): {
            seed: compared_run(
                folder / f"{arm}-{seed}", seed, [value + 0.001 * seed] * 10, upload=UPLOAD[arm]
            )
            for seed in range(seeds)
        }
        for arm, value in accuracy.items()
    }
    return compute_results(small_plan(folder, num_seeds=3, text=text), runs, CHOSEN)


def finished_study(folder: Path, name: str = "frontier") -> Path:
    """A finished study with the results of the small study, under the name of a built-in study."""
    study = StudyFolder(folder / f"{name}-1")
    study.folder.mkdir()
    state = study_state(name=name, command=f"sparsefleet reproduce {name} --data data")
    study.write(state)
    results = small_results(folder, {"masked": 0.9, "dense": 0.6, "frozen": 0.5})
    write_study_report(results, state, study.report)
    return study.folder
