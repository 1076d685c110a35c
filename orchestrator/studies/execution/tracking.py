"""Tracks a study as one MLflow run, below which its sweeps are nested."""

from typing import final

from orchestrator.commands import command_line
from orchestrator.errors import TrackingError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.tracking.description import user_name
from orchestrator.runtime.tracking.setup import experiment_name, tracking_uri
from orchestrator.studies.execution.folder import StudyFolder, StudyState
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RunInfo
from orchestrator.tracking.tracker import Status

#: tag of the study, of its sweeps and of their trials
STUDY_TAG = "study"


def resume_study_line(folder: StudyFolder) -> str:
    """Return the command that resumes a study."""
    return command_line("reproduce", folder.folder, "--resume")


@final
class StudyTracker:
    """Opens and ends the MLflow run of a study. With tracking off it does nothing."""

    def __init__(self, folder: StudyFolder, state: StudyState, config: ExperimentConfig) -> None:
        """Open the run; a resumed study gets its earlier run. Raises TrackingError when MLflow rejects the run."""
        self._folder = folder
        self._sink = MlflowSink() if config.tracking.enabled else None
        self._tags: dict[str, str] = {STUDY_TAG: folder.study_id}
        if self._sink is None:
            return
        self._sink.start(_run_info(folder, state, config))
        outcome = self._sink.outcome()
        if outcome.mlflow_run_id is None:
            raise TrackingError(outcome.problem or "MLflow did not accept the study")
        self._tags["mlflow.parentRunId"] = outcome.mlflow_run_id

    @property
    def tags(self) -> dict[str, str]:
        """The tags of the study's sweeps."""
        return dict(self._tags)

    def end(self, status: Status) -> str | None:
        """End the run with a status, and deliver the report. Returns None, or what did not arrive and the remedy."""
        if self._sink is None:
            return None
        self._sink.end(status, {})
        return self._sink.close().problem


def _run_info(folder: StudyFolder, state: StudyState, config: ExperimentConfig) -> RunInfo:
    return RunInfo(
        run_id=folder.study_id,
        run_dir=str(folder.folder),
        uri=tracking_uri(config),
        experiment=experiment_name(config),
        artifact_root=None,
        run_name=folder.study_id,
        params={"study": state.name, "scale": state.scale, "num_seeds": str(state.num_seeds)},
        tags={
            "mlflow.user": user_name(),
            STUDY_TAG: folder.study_id,
            "command": state.command,
            "git_commit": state.git_commit,
        },
        flush_timeout_s=config.tracking.flush_timeout_s,
        resumption=resume_study_line(folder),
    )
