"""A search that learns, asked and told as Tune would, with what it recorded."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.tune.search import Searcher

from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trials import TrialSpec
from orchestrator.sweeping.tune.search import RecordedSearch
from tests.support.sweeps import request


class ParsedCommand:
    """One process's search; `recorded` is what it wrote down, `earlier` what a process before it had."""

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
        self.refused: list[tuple[int, str]] = []
        self.impossible: set[int] = set()
        self.handed_out: list[TrialSpec] = []
        asked = request(**{"search": "tpe", "num_samples": 4, "objective": objective, **options})
        self.search = RecordedSearch(
            asked,
            self.objective,
            dimensions,
            base_seed=base_seed,
            record=self.recorded.extend,
            make_task=self._task,
            refuse=lambda spec, error: self.refused.append((spec.number, str(error))),
            earlier=earlier,
            endings=endings,
        )

    def next(self) -> TrialSpec | None:
        """The next trial; None when there is none."""
        config = self.search.suggest(f"tune-{len(self.handed_out)}")
        if config == Searcher.FINISHED:
            return None
        assert config["trial"]["number"] == self.handed_out[-1].number
        return self.handed_out[-1]

    def tell(self, spec: TrialSpec, **goals: float) -> None:
        """The trial has ended with these values; without any, it has failed."""
        name = f"tune-{self.handed_out.index(spec)}"
        self.search.on_trial_complete(name, goals or None, error=not goals)

    def rest(self, value: float = 0.5) -> list[TrialSpec]:
        """Hand out what is left, telling each the same values."""
        found = []
        while (spec := self.next()) is not None:
            found.append(spec)
            self.tell(spec, **{goal.name: value for goal in self.objective.goals})
        return found

    def told(self) -> list[tuple[str, list[float] | None]]:
        """State and values of each of Optuna's trials that has ended, in the order in which it made them."""
        study = self.search._optuna._ot_study
        return [(each.state.name, each.values) for each in study.trials if each.state.is_finished()]

    def _task(self, spec: TrialSpec) -> dict[str, Any]:
        assert spec in [*self.recorded, *self._earlier], "it is recorded before Tune hears of it"
        if spec.number in self.impossible:
            raise RequestError("training.lr", spec.values["training.lr"], "it cannot be", "draw another")
        self.handed_out.append(spec)
        return {"number": spec.number}
