"""Runs the stages of a study, each as one sweep, and writes the report."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import put_values
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime.tracking.setup import resolve_tracking, tracking_values
from orchestrator.studies.execution.folder import STAGES, NamedValues, Stage, StudyFolder, StudyState
from orchestrator.studies.execution.listing import Listing, list_configurations, write_space
from orchestrator.studies.execution.runs import needs_resume, reported_runs, tuning_records
from orchestrator.studies.execution.tracking import StudyTracker, resume_study_line
from orchestrator.studies.execution.tuning import SeedRecords, choose_finalists, choose_values
from orchestrator.studies.plan import TUNING_SEEDS, Entry, StudyPlan
from orchestrator.studies.report.write import write_study_report
from orchestrator.studies.results import StudyResults, compute_results
from orchestrator.sweeping.display import SweepDisplay
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.result import SweepResult
from orchestrator.tracking.tracker import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyEnd:
    """How a process ended its work on a study.

    - `results`: None when the study must be resumed: it was interrupted, or `num_failed` trials failed.
    - `problem`: what MLflow did not get, and the remedy; None if it has everything.
    """

    folder: Path
    results: StudyResults | None
    interrupted: bool
    num_failed: int
    problem: str | None


def run_stages(
    folder: StudyFolder, display: SweepDisplay, max_concurrent: int | None, verbose: bool
) -> StudyEnd:
    """Run the stages of a study that have not finished, and write its report. The caller has locked the folder.

    Raises the errors of `sweep` and `resume_sweep`.
    """
    state = folder.read()
    overrides = {**state.overrides, "runtime.storage": str(folder.folder.parent)}
    config, _ = resolve_tracking(ExperimentConfig.parse(put_values({}, overrides)))
    tracker = StudyTracker(folder, state, config)
    status: Status = "FAILED"
    try:
        sweeps = _Sweeps(
            folder, overrides | tracking_values(config), tracker, display, max_concurrent, verbose
        )
        stopped = next((each for each in map(sweeps.finish, STAGES) if each is not None), None)
        if stopped is not None:
            status = "KILLED" if stopped.interrupted else "FAILED"
            results = None
        else:
            results = report_study(folder.folder)
            status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        problem = tracker.end(status)
    return StudyEnd(
        folder=folder.folder,
        results=results,
        interrupted=stopped is not None and stopped.interrupted,
        num_failed=0 if stopped is None else stopped.num_failed,
        problem=problem,
    )


def report_study(path: Path) -> StudyResults:
    """Compute the results of a study from its stored runs, and write its report.

    Raises ConfigError for a study whose reported runs have not started.
    """
    folder = StudyFolder(path)
    state = folder.read()
    plan, sweep = folder.plan(state), folder.sweep_folder("report", state)
    if sweep is None:
        problem = "the reported runs of this study have not started"
        raise ConfigError("--report", path, problem, f"run `{resume_study_line(folder)}`")
    runs = reported_runs(sweep, _report_listing(plan, state), plan.cells, plan.num_seeds)
    results = compute_results(plan, runs, state.chosen_values)
    write_study_report(results, state, folder.report)
    return results


class _Sweeps:
    """Runs or resumes the sweep of each stage."""

    def __init__(
        self,
        folder: StudyFolder,
        overrides: Mapping[str, Any],
        tracker: StudyTracker,
        display: SweepDisplay,
        max_concurrent: int | None,
        verbose: bool,
    ) -> None:
        self._folder, self._overrides, self._tracker = folder, overrides, tracker
        self._display, self._max_concurrent, self._verbose = display, max_concurrent, verbose

    def finish(self, stage: Stage) -> SweepResult | None:
        """Run what is left of a stage. Returns the result of a sweep that must be resumed, else None."""
        state = self._folder.read()
        if stage in state.finished:
            return None
        plan = self._folder.plan(state)
        listing = _LISTINGS[stage](plan, state)
        result = self._run(stage, state, plan, listing)
        state = self._folder.update(sweeps={**state.sweeps, stage: result.sweep_id})
        if result.interrupted or needs_resume(result.folder):
            return result
        self._folder.update(finished=(*state.finished, stage), **self._choices(stage, plan, state))
        return None

    def _choices(
        self, stage: Stage, plan: StudyPlan, state: StudyState
    ) -> dict[str, tuple[NamedValues, ...]]:
        """Return what the runs of a tuning stage decide."""
        if stage == "report":
            return {}
        screened = list(plan.tuning_entries())
        first = self._records("screening", plan, state, screened)
        if stage == "screening":
            finalists = choose_finalists(plan, screened, first)
            return {
                "finalists": tuple(
                    (cell.setting, cell.arm, values) for cell, each in finalists.items() for values in each
                )
            }
        entries = list(plan.tuning_entries(state.finalist_values))
        known = {
            (cell, json.dumps(values)): runs for (cell, values, _), runs in zip(screened, first, strict=True)
        }
        later = self._records("tuning", plan, state, entries)
        records = [
            {**known[cell, json.dumps(values)], **runs}
            for (cell, values, _), runs in zip(entries, later, strict=True)
        ]
        chosen = choose_values(plan, entries, records)
        return {"chosen": tuple((cell.setting, cell.arm, values) for cell, values in chosen.items())}

    def _records(
        self, stage: Stage, plan: StudyPlan, state: StudyState, entries: Sequence[Entry]
    ) -> list[SeedRecords]:
        folder = self._folder.sweep_folder(stage, state)
        assert folder is not None, "the stage has ended"
        listing = list_configurations(plan, [tree for _, _, tree in entries])
        return tuning_records(folder, listing, len(_seeds(stage, plan)))

    def _run(self, stage: Stage, state: StudyState, plan: StudyPlan, listing: Listing) -> SweepResult:
        from orchestrator.sweeping.tune.session import resume_sweep, sweep

        resumption = resume_study_line(self._folder)
        if (existing := self._folder.sweep_folder(stage, state)) is not None:
            return resume_sweep(
                existing,
                self._display,
                max_concurrent=self._max_concurrent,
                verbose=self._verbose,
                resumption=resumption,
            )
        file = self._folder.space_file(stage, state.name)
        write_space(file, f"{plan.study.title} Stage: {stage}.", listing)
        seeds = _seeds(stage, plan)
        request = SweepRequest(
            space=str(file),
            config={**listing.base, "seed": seeds[0]},
            overrides=dict(self._overrides),
            seeds=len(seeds),
            max_concurrent=self._max_concurrent,
        )
        return sweep(
            request, self._display, verbose=self._verbose, tags=self._tracker.tags, resumption=resumption
        )


def _seeds(stage: Stage, plan: StudyPlan) -> Sequence[int]:
    """Return the seeds of a stage's runs, which are consecutive."""
    if stage == "report":
        return range(plan.num_seeds)
    return TUNING_SEEDS[:1] if stage == "screening" else TUNING_SEEDS[1:]


def _screening_listing(plan: StudyPlan, state: StudyState) -> Listing:
    return list_configurations(plan, [tree for _, _, tree in plan.tuning_entries()])


def _tuning_listing(plan: StudyPlan, state: StudyState) -> Listing:
    return list_configurations(plan, [tree for _, _, tree in plan.tuning_entries(state.finalist_values)])


def _report_listing(plan: StudyPlan, state: StudyState) -> Listing:
    chosen = state.chosen_values
    return list_configurations(
        plan, [plan.report_config(cell, plan.values_for(cell, chosen)) for cell in plan.cells]
    )


_LISTINGS: dict[Stage, Callable[[StudyPlan, StudyState], Listing]] = {
    "screening": _screening_listing,
    "tuning": _tuning_listing,
    "report": _report_listing,
}
