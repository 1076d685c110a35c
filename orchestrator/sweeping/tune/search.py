"""Searches that learn from what has ended: Optuna behind Tune, with every suggestion written down first."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, final

import optuna
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.sample import Categorical, Domain, Function

from orchestrator.config.overrides import flatten
from orchestrator.errors import RequestError
from orchestrator.federation.seeds import derive
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.space import is_at_or_below, lists_as_choices, plain
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trials import TrialSpec, with_seeds
from orchestrator.sweeping.tune.not_pickled import NotPickled

MakeTask = Callable[[TrialSpec], dict[str, Any]]


@final
class RecordedSearch(NotPickled, Searcher):
    """Asks Optuna for configurations, each of which becomes as many trials as there are seeds.

    A trial is handed to `record` before Tune hears of it. What an earlier process recorded is asked for again, in the
    same order and with the same answers, and what had ended is told as it was then; then new ones follow.
    """

    def __init__(
        self,
        request: SweepRequest,
        objective: Objective,
        dimensions: Mapping[str, Any],
        *,
        base_seed: int,
        record: Callable[[Sequence[TrialSpec]], None],
        make_task: MakeTask,
        refuse: Callable[[TrialSpec, RequestError], None],
        earlier: Sequence[TrialSpec] = (),
        endings: Mapping[int, Ending] | None = None,
    ) -> None:
        """`dimensions` are the keys that vary; `make_task` gives what Tune keeps of a trial.

        A trial that cannot be, for which it raises a RequestError, goes to `refuse` instead: it has failed.
        """
        super().__init__()
        self._request, self._base_seed = request, base_seed
        self._record, self._make_task, self._refuse = record, make_task, refuse
        self._names = [goal.name for goal in objective.goals]
        chosen = lists_as_choices(dimensions)
        self._computed = {key: value for key, value in chosen.items() if isinstance(value, Function)}
        self._keys = list(chosen)
        self._fixed = {key: value for key, value in chosen.items() if not isinstance(value, Domain)}
        domains = {
            key: value
            for key, value in chosen.items()
            if isinstance(value, Domain) and not isinstance(value, Function)
        }
        self._choices = {
            key: list(domain.categories) for key, domain in domains.items() if isinstance(domain, Categorical)
        }
        self._waiting: list[TrialSpec] = []
        self._ended: defaultdict[int, dict[int, Mapping[str, float] | None]] = defaultdict(dict)
        self._tune_ids: dict[str, int] = {}
        self._optuna = self._make_optuna(objective, domains, earlier)
        self._num_asked = 0
        self._replay(earlier, endings or {})

    def suggest(self, trial_id: str) -> Any:
        """The next trial for Tune; FINISHED after the last one."""
        while self._waiting or self._num_asked < self._request.samples:
            if not self._waiting:
                self._waiting = self._ask()
                self._record(self._waiting)
            spec = self._waiting.pop(0)
            try:
                task = self._make_task(spec)
            except RequestError as error:
                self._refuse(spec, error)
                self._tell(spec.number, None)
                continue
            self._tune_ids[trial_id] = spec.number
            return {"trial": task}
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial has ended; Optuna is told when all seeds of its configuration have."""
        failed = error or result is None or any(name not in result for name in self._names)
        values = None if failed or result is None else {name: result[name] for name in self._names}
        self._tell(self._tune_ids.pop(trial_id), values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing is learnt before the end."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's own files are what it goes on from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see `save`."""

    def _make_optuna(
        self, objective: Objective, domains: Mapping[str, Domain], earlier: Sequence[TrialSpec]
    ) -> OptunaSearch:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        first = [spec for spec in earlier if spec.number % self._request.seeds == 0]
        # what is asked for again draws nothing: the same seed would begin with the same configurations anew
        seed = derive(self._base_seed, "optuna", len(first)) % 2**32
        sampler: optuna.samplers.BaseSampler
        if self._request.search == "nsga2":
            sampler = optuna.samplers.NSGAIISampler(seed=seed)
        else:
            sampler = optuna.samplers.TPESampler(seed=seed)
        by_number = {
            key: tune.choice(range(len(self._choices[key]))) if key in self._choices else domain
            for key, domain in domains.items()
        }
        return OptunaSearch(
            OptunaSearch.convert_search_space(by_number),
            metric=self._names,
            mode=[goal.mode for goal in objective.goals],
            points_to_evaluate=[
                {key: self._as_optuna_knows(key, spec.values) for key in domains} for spec in first
            ],
            sampler=sampler,
        )

    def _as_optuna_knows(self, key: str, values: Mapping[str, Any]) -> Any:
        """The value that was written down; of a choice its number, since Optuna has no mappings."""
        if key not in self._choices:
            return values[key]
        others = [other for other in self._keys if other.startswith(f"{key}.")]
        below = {
            k: v
            for k, v in values.items()
            if is_at_or_below(k, key) and not any(is_at_or_below(k, other) for other in others)
        }
        return next(
            n for n, choice in enumerate(self._choices[key]) if flatten({key: plain(choice)}) == below
        )

    def _ask(self) -> list[TrialSpec]:
        index = self._num_asked
        drawn = self._optuna.suggest(_name(index)) or {}
        chosen = {key: found[drawn[key]] for key, found in self._choices.items()}
        known = {**self._fixed, **drawn, **chosen}
        values = {key: known[key] for key in self._keys if key in known}
        for key, value in self._computed.items():
            values[key] = value.sample(config=values)
        self._num_asked += 1
        first = index * self._request.seeds
        return [
            TrialSpec(number=first + offset, values=seeded)
            for offset, seeded in enumerate(
                with_seeds(flatten(plain(values)), self._base_seed, self._request.seeds)
            )
        ]

    def _replay(self, earlier: Sequence[TrialSpec], endings: Mapping[int, Ending]) -> None:
        present = {spec.number: spec for spec in earlier}
        seeds = self._request.seeds
        for number in [n for n in present if n % seeds == 0]:
            self._optuna.suggest(_name(self._num_asked))
            self._num_asked += 1
            wanted = with_seeds(present[number].values, self._base_seed, seeds)
            group = [TrialSpec(number=number + n, values=values) for n, values in enumerate(wanted)]
            # a kill may have cut the record of a group short
            self._record(lost := [spec for spec in group if spec.number not in present])
            self._waiting += [spec for spec in group if spec.number not in endings]
            for spec in group:
                if ending := endings.get(spec.number):
                    self._tell(spec.number, None if ending.status == "failed" else ending.objective)
            present |= {spec.number: spec for spec in lost}

    def _tell(self, number: int, values: Mapping[str, float] | None) -> None:
        index = number // self._request.seeds
        group = self._ended[index]
        group[number] = values
        if len(group) < self._request.seeds:
            return
        known = [found for found in group.values() if found is not None]
        whole = len(known) == len(group)
        result = {name: fmean(found[name] for found in known) for name in self._names} if whole else None
        self._optuna.on_trial_complete(_name(index), result, error=not whole)


def _name(index: int) -> str:
    """What Optuna's side calls a configuration."""
    return f"configuration-{index}"
