"""The adaptive searches: Optuna suggests configurations from the results of ended trials."""

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
from orchestrator.sweeping.space import grids_as_choices, is_at_or_below, to_plain
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trial_specs import TrialSpec, with_seeds
from orchestrator.sweeping.tune.stateless_pickle import StatelessPickle

MakeTask = Callable[[TrialSpec], dict[str, Any]]


@final
class RecordedSearch(StatelessPickle, Searcher):
    """Asks Optuna for configurations and turns each of them into one trial per seed.

    The search passes every trial to `record` before it passes the trial to Tune. In a resumed sweep, the search
    replays the recorded trials: Optuna suggests the recorded values in the same order and learns the recorded endings.
    New suggestions follow after the replay.
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
        reject: Callable[[TrialSpec, RequestError], None],
        recorded: Sequence[TrialSpec] = (),
        endings: Mapping[int, Ending] | None = None,
    ) -> None:
        """Create the search and replay the recorded trials.

        - `dimensions`: dotted key -> domain, list or constant.
        - `make_task`: returns the values that Tune stores of a trial. If it raises RequestError for a trial, the search
          passes the trial to `reject` and continues with the next trial.
        - `recorded`, `endings`: trials and endings of the earlier processes of the sweep.
        """
        super().__init__()
        self._request, self._base_seed = request, base_seed
        self._record, self._make_task, self._reject = record, make_task, reject
        self._names = [metric.name for metric in objective.metrics]
        chosen = grids_as_choices(dimensions)
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
        self._optuna = self._make_optuna(objective, domains, recorded)
        self._num_suggested = 0
        self._replay(recorded, endings or {})

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial for Tune, or FINISHED after the last trial."""
        while self._waiting or self._num_suggested < self._request.samples:
            if not self._waiting:
                self._waiting = self._suggest_group()
                self._record(self._waiting)
            spec = self._waiting.pop(0)
            try:
                task = self._make_task(spec)
            except RequestError as error:
                self._reject(spec, error)
                self._tell(spec.number, None)
                continue
            self._tune_ids[trial_id] = spec.number
            return {"trial": task}
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record the result of a trial. Optuna learns the mean when all seeds of the configuration have ended."""
        failed = error or result is None or any(name not in result for name in self._names)
        values = None if failed or result is None else {name: result[name] for name in self._names}
        self._tell(self._tune_ids.pop(trial_id), values)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Ignore intermediate results: Optuna learns only from final results."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed sweep reads its own files."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, see `save`."""

    def _make_optuna(
        self, objective: Objective, domains: Mapping[str, Domain], recorded: Sequence[TrialSpec]
    ) -> OptunaSearch:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        first = [spec for spec in recorded if spec.number % self._request.seeds == 0]
        # replayed suggestions use no random numbers: with an unchanged seed, new suggestions would repeat them
        seed = derive(self._base_seed, "optuna", len(first)) % 2**32
        sampler: optuna.samplers.BaseSampler
        if self._request.search == "nsga2":
            sampler = optuna.samplers.NSGAIISampler(seed=seed)
        else:
            sampler = optuna.samplers.TPESampler(seed=seed)
        by_index = {
            key: tune.choice(range(len(self._choices[key]))) if key in self._choices else domain
            for key, domain in domains.items()
        }
        return OptunaSearch(
            OptunaSearch.convert_search_space(by_index),
            metric=self._names,
            mode=[metric.mode for metric in objective.metrics],
            points_to_evaluate=[
                {key: self._optuna_value(key, spec.values) for key in domains} for spec in first
            ],
            sampler=sampler,
        )

    def _optuna_value(self, key: str, values: Mapping[str, Any]) -> Any:
        """Return a recorded value in Optuna's form: the index of a choice, because Optuna does not accept mappings."""
        if key not in self._choices:
            return values[key]
        others = [other for other in self._keys if other.startswith(f"{key}.")]
        below = {
            k: v
            for k, v in values.items()
            if is_at_or_below(k, key) and not any(is_at_or_below(k, other) for other in others)
        }
        return next(
            n for n, choice in enumerate(self._choices[key]) if flatten({key: to_plain(choice)}) == below
        )

    def _suggest_group(self) -> list[TrialSpec]:
        index = self._num_suggested
        suggested = self._optuna.suggest(_optuna_id(index)) or {}
        chosen = {key: options[suggested[key]] for key, options in self._choices.items()}
        known = {**self._fixed, **suggested, **chosen}
        values = {key: known[key] for key in self._keys if key in known}
        for key, value in self._computed.items():
            values[key] = value.sample(config=values)
        self._num_suggested += 1
        first = index * self._request.seeds
        return [
            TrialSpec(number=first + offset, values=seeded)
            for offset, seeded in enumerate(
                with_seeds(flatten(to_plain(values)), self._base_seed, self._request.seeds)
            )
        ]

    def _replay(self, recorded: Sequence[TrialSpec], endings: Mapping[int, Ending]) -> None:
        by_number = {spec.number: spec for spec in recorded}
        seeds = self._request.seeds
        for number in [n for n in by_number if n % seeds == 0]:
            self._optuna.suggest(_optuna_id(self._num_suggested))
            self._num_suggested += 1
            seeded = with_seeds(by_number[number].values, self._base_seed, seeds)
            group = [TrialSpec(number=number + n, values=values) for n, values in enumerate(seeded)]
            # the process may have been killed before it recorded the whole group
            self._record(missing := [spec for spec in group if spec.number not in by_number])
            self._waiting += [spec for spec in group if spec.number not in endings]
            for spec in group:
                if ending := endings.get(spec.number):
                    self._tell(spec.number, None if ending.status == "failed" else ending.objective)
            by_number |= {spec.number: spec for spec in missing}

    def _tell(self, number: int, values: Mapping[str, float] | None) -> None:
        index = number // self._request.seeds
        group = self._ended[index]
        group[number] = values
        if len(group) < self._request.seeds:
            return
        known = [found for found in group.values() if found is not None]
        is_complete = len(known) == len(group)
        result = (
            {name: fmean(found[name] for found in known) for name in self._names} if is_complete else None
        )
        self._optuna.on_trial_complete(_optuna_id(index), result, error=not is_complete)


def _optuna_id(index: int) -> str:
    """Return the trial id that Tune's Optuna wrapper uses for a configuration."""
    return f"configuration-{index}"
