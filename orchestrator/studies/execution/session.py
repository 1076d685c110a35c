"""Starts and resumes a study: checks the request, creates or locks the folder, and runs the stages."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import put_values
from orchestrator.errors import ClusterError, ConfigError, RequestError
from orchestrator.experiment.checkout import commit_of_package
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.tracking.setup import check_storage_and_tracking, resolve_tracking
from orchestrator.storage.folders import unique_name
from orchestrator.storage.lock import new_locked_folder
from orchestrator.studies.execution.folder import STAGES, STUDY_YAML, StudyFolder, StudyState
from orchestrator.studies.execution.stages import StudyEnd, run_stages
from orchestrator.studies.library import read_study, study_path
from orchestrator.studies.plan import StudyPlan
from orchestrator.studies.schema import Scale
from orchestrator.suggest import suggest
from orchestrator.sweeping.display import SweepDisplay

#: sections whose keys a study takes from the command line
OWN_SECTIONS = ("runtime", "tracking")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRequest:
    """What a user asks for. `spec` is a study's name or file, `data` the folder of the data.

    `settings` are the settings that run (empty: all). `overrides` maps dotted keys of `runtime` and `tracking` to
    values; `command` is the command line for the report.
    """

    spec: str
    scale: Scale
    num_seeds: int
    data: Path
    overrides: Mapping[str, Any]
    command: str
    settings: tuple[str, ...] = ()
    max_concurrent: int | None = None
    verbose: bool = False


def plan_study(request: StudyRequest) -> StudyPlan:
    """Return the plan of a study whose data and configs are checked. Raises RequestError."""
    plan = unchecked_plan(request, request.data.expanduser().resolve())
    plan.check()
    return plan


def unchecked_plan(request: StudyRequest, data: Path | None) -> StudyPlan:
    """Return the plan of a study whose configs are not checked. Raises RequestError for settings that do not run."""
    path = study_path(request.spec)
    plan = StudyPlan(
        name=path.stem,
        study=read_study(path),
        scale=request.scale,
        num_seeds=request.num_seeds,
        data=data,
        chosen_settings=request.settings,
    )
    known = plan.study.settings_at(plan.scale)
    if not known:
        problem = "no setting of the study runs at this scale"
        raise ConfigError("--scale", request.scale, problem, "choose the other scale")
    for name in request.settings:
        if name not in known:
            remedy = suggest(name, known, f"choose among {', '.join(known)}")
            raise ConfigError("--setting", name, "the study has no such setting at this scale", remedy)
    return plan


def start_study(request: StudyRequest, display: SweepDisplay) -> StudyEnd:
    """Run a study in a new folder of `runtime.storage`.

    Raises RequestError before anything runs for an invalid study, config or option and for missing data.
    """
    for key, value in request.overrides.items():
        if key.partition(".")[0] not in OWN_SECTIONS:
            problem = "a study fixes all keys outside of runtime and tracking"
            raise ConfigError(key, value, problem, "leave it out, or copy the study file and change the copy")
    plan = plan_study(request)
    config = ExperimentConfig.parse(put_values({}, request.overrides))
    check_storage_and_tracking(resolve_tracking(config)[0])
    folder = StudyFolder(config.runtime.storage.resolve() / unique_name(plan.name))
    with new_locked_folder(folder.folder):
        shutil.copyfile(study_path(request.spec), folder.folder / STUDY_YAML)
        folder.write(
            StudyState(
                name=plan.name,
                scale=plan.scale,
                num_seeds=plan.num_seeds,
                data=str(plan.data),
                settings=plan.chosen_settings,
                overrides=dict(request.overrides),
                command=request.command,
                packages={name: version(name) for name in ("sparsefleet", "torch", "ray", "numpy")},
                git_commit=commit_of_package() or "unknown",
            )
        )
        try:
            return run_stages(folder, display, request.max_concurrent, request.verbose)
        except (RequestError, ClusterError):
            if all(folder.sweep_folder(stage, folder.read()) is None for stage in STAGES):
                shutil.rmtree(
                    folder.folder
                )  # the study ended before its first sweep: there is nothing to resume
            raise


def resume_study(
    path: Path, display: SweepDisplay, *, max_concurrent: int | None = None, verbose: bool = False
) -> StudyEnd:
    """Resume a study: run the trials that have not finished. A finished study only writes its results again."""
    folder = StudyFolder(path)
    with folder.locked():
        return run_stages(folder, display, max_concurrent, verbose)
