"""A harness that uses `RecordedSearch` as Tune does, and stores what the search records."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trial_specs import TrialSpec
from orchestrator.sweeping.tune.search import RecordedSearch
from tests.support.sweeps import request


class SearchHarness:
    """The search of one process.

    `recorded` lists the trials that the search recorded, and `rejected` the trials that it rejected. `earlier` are the
    trials that an earlier process recorded. Trials in `invalid` raise RequestError.
    """

    def __init__(
        self,
        dimensions: Mapping[str, Any],
        *,
        earlier: Sequence[TrialSpec] = (),
        endings: Mapping[int, Ending] | None = None,
        base_seed: int = 0,
        objective: str = "accuracy",
        **options: Any,
    ) -> None:
        self.objective = Objective.parse(objective)
        self._earlier = list(earlier)
        self.recorded: list[TrialSpec] = []
        self.rejected: list[tuple[int, RequestError]] = []
        self.invalid: set[int] = set()
        self.handed_out: list[TrialSpec] = []
        options = {"search": "tpe", "num_samples": 4, "objective": objective, **options}
        self.search = RecordedSearch(
            request(**options),
            self.objective,
            dimensions,
            base_seed=base_seed,
            record=self.recorded.extend,
            make_task=self._task,
            reject=lambda spec, error: self.rejected.append((spec.number, error)),
            recorded=earlier,
            endings=endings,
        )

    def next(self) -> TrialSpec | None:
        """Return the next trial, or None after the last trial."""
        config = self.search.suggest(f"tune-{len(self.handed_out)}")
        if config == Searcher.FINISHED:
            return None
        assert config["trial"]["number"] == self.handed_out[-1].number
        return self.handed_out[-1]

    def tell(self, spec: TrialSpec, **metrics: float) -> None:
        """End the trial with these values of the metrics; without values, the trial has failed."""
        name = f"tune-{self.handed_out.index(spec)}"
        self.search.on_trial_complete(name, metrics or None, error=not metrics)

    def run_remaining(self, value: float = 0.5) -> list[TrialSpec]:
        """Take all remaining trials from the search and end each with the same value."""
        trials = []
        while (spec := self.next()) is not None:
            trials.append(spec)
            self.tell(spec, **{metric.name: value for metric in self.objective.metrics})
        return trials

    def optuna_results(self) -> list[tuple[str, list[float] | None]]:
        """Return state and values of the ended trials in Optuna, in the order of the suggestions."""
        study = self.search._optuna._ot_study
        return [(each.state.name, each.values) for each in study.trials if each.state.is_finished()]

    def _task(self, spec: TrialSpec) -> dict[str, Any]:
        assert spec in [*self.recorded, *self._earlier], (
            "the search records a trial before Tune gets the trial"
        )
        if spec.number in self.invalid:
            raise RequestError("training.lr", spec.values["training.lr"], "out of range", "sample another")
        self.handed_out.append(spec)
        return {"number": spec.number}
