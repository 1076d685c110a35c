"""Samples the cohort of a round by the configured policy (`selection.*`)."""

from collections.abc import Collection, Iterable, Mapping
from math import ceil
from types import MappingProxyType

import numpy as np

from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.client_event import ClientEvent
from orchestrator.federation.seeds import stream
from orchestrator.fleet.client_history import ClientHistory
from orchestrator.fleet.client_sampler import ClientSampler
from orchestrator.fleet.oort import oort_cohort
from orchestrator.fleet.own_sampling import SelectionFacts, own_cohort

#: emulated seconds between two checks for available clients, and the number of checks: a week
POLL_INTERVAL_S, MAX_POLLS = 60.0, 7 * 24 * 60

_NOBODY: Mapping[int, float] = MappingProxyType({})


class CohortSampler:
    """Samples clients from named random streams. The caller supplies the losses for power-of-choice."""

    def __init__(self, experiment: Experiment) -> None:
        config, self._setting = experiment.config, experiment.setting
        self._config, self._training = config.selection, config.training
        self._population = experiment.setting.population
        self._rule = experiment.sampling_rule
        #: unseen clients, whose ids follow, are never candidates
        self._num_clients = experiment.setting.num_clients
        weighted = self._config.kind in ("samples", "power_of_choice")
        self._sizes = experiment.partition.train.sizes()[: self._num_clients]
        self._clients = ClientSampler(self._num_clients, self._sizes if weighted else None)
        self._history = ClientHistory(self._num_clients)
        wanted = ceil(round(config.fleet.over_selection * self._training.clients_per_round, 9))
        most = wanted if self._training.with_replacement else self._num_clients
        self.cohort_size = min(wanted, most)

    @property
    def needs_losses(self) -> bool:
        """Whether `cohort` gives only candidates, and their losses decide (power-of-choice)."""
        return self._config.kind == "power_of_choice"

    def record(self, events: Iterable[ClientEvent]) -> None:
        """Learn from the participations of a round (oort, refl, a user's function); other policies read nothing."""
        if not self._config.learns:
            return
        for event in events:
            if event.kind == "train" and event.outcome == "used":
                self._history.record(
                    event.client_id,
                    event.round_idx,
                    num_samples=event.num_examples,
                    mean_loss=event.train_loss,
                    seconds=event.total_s,
                )

    def cohort(
        self,
        round_idx: int,
        *,
        now_s: float = 0.0,
        busy: Collection[int] = (),
        count: int | None = None,
        part: int = 0,
    ) -> tuple[int, ...]:
        """Clients for a round, in the order of sampling; fewer than `count` if fewer are available.

        `now_s` is the emulated time and `busy` are clients that still train. `count` None is the cohort's size. A round
        that samples several times numbers its samples by `part`. With power-of-choice the result are the candidates.
        """
        path = ("server", round_idx, "selection", *((part,) if part else ()))
        rng = stream(self._setting.seed, *path)
        wanted = self.cohort_size if count is None else count
        num_candidates = wanted
        if self._config.kind in ("available", "power_of_choice"):
            num_candidates = min(max(wanted, self._config.candidates or 2 * wanted), self._num_clients)
        all_eligible = self._population.always_available and not busy

        def eligible(client_id: int) -> bool:
            return client_id not in busy and self._population.available_until(client_id, now_s) > now_s

        if self._config.learns:
            candidates = [k for k in range(self._num_clients) if eligible(k)]
            choose = self._guided if self._rule is None else self._own
            return choose(round_idx, wanted, rng, candidates, now_s)
        sampled = self._clients.sample(
            num_candidates,
            rng,
            None if all_eligible else eligible,
            with_replacement=self._training.with_replacement,
        )
        if self._config.kind == "available":
            stays = {k: self._population.available_until(k, now_s) for k in sampled}
            sampled = tuple(sorted(sampled, key=lambda k: -stays[k]))[:wanted]
        return sampled

    def _guided(
        self, round_idx: int, wanted: int, rng: np.random.Generator, eligible: list[int], now_s: float
    ) -> tuple[int, ...]:
        """Up to `wanted` eligible clients by Oort, or by REFL: rested clients, those first that leave soonest.

        REFL: Abdelmoniem, Sahu, Canini and Fahmy, EuroSys 2023, arXiv 2111.01108. The population's own times replace
        the paper's prediction. If too few clients are rested, those follow whose participation is longest ago.
        """
        if self._config.kind == "oort":
            return oort_cohort(self._history, eligible, self._sizes, wanted, round_idx, rng)
        last, cooldown = self._history.last_round, self._config.cooldown

        def rank(client_id: int) -> tuple[int, float]:
            is_rested = self._history.rested(client_id, round_idx, cooldown)
            waits = -1 if is_rested else int(last[client_id])
            return waits, self._population.available_until(client_id, now_s)

        shuffled = [eligible[int(i)] for i in rng.permutation(len(eligible))]
        return tuple(sorted(shuffled, key=rank)[:wanted])

    def _own(
        self, round_idx: int, wanted: int, rng: np.random.Generator, eligible: list[int], now_s: float
    ) -> tuple[int, ...]:
        """Up to `wanted` eligible clients by the user's function."""
        assert self._rule is not None
        history = self._history
        facts = SelectionFacts(
            round_idx=round_idx,
            now_s=now_s,
            num_wanted=min(wanted, len(eligible)),
            candidates=np.array(eligible, dtype=np.int64),
            num_samples=self._sizes,
            last_round=history.last_round,
            last_loss=history.mean_loss,
            last_seconds=np.where(history.last_round < 0, np.nan, history.seconds),
            available_until_s=np.array([self._population.available_until(k, now_s) for k in eligible]),
        )
        return own_cohort(self._rule, facts, rng, self._config.options)

    def wait_for_cohort(
        self, round_idx: int, now_s: float, busy_until_s: Mapping[int, float] = _NOBODY
    ) -> tuple[tuple[int, ...], float]:
        """A cohort of at least one client, and the emulated time at which the cohort is available.

        `busy_until_s` contains the emulated time at which each busy client finishes.

        Raises RoundError when no client becomes available for a week.
        """
        for _ in range(MAX_POLLS):
            busy = {k for k, until_s in busy_until_s.items() if until_s > now_s}
            if cohort := self.cohort(round_idx, now_s=now_s, busy=busy):
                return cohort, now_s
            now_s += POLL_INTERVAL_S
        raise no_client_available(round_idx)

    def largest_losses(self, losses: Mapping[int, float]) -> tuple[int, ...]:
        """The candidates with the largest losses, largest first; the candidate sampled first wins a tie.

        Power-of-choice, Cho, Wang and Joshi, arXiv 2010.01243, section 3.
        """
        return tuple(sorted(losses, key=lambda k: -losses[k])[: self.cohort_size])


def no_client_available(round_idx: int) -> RoundError:
    """The error of a round without an available client."""
    problem = f"round {round_idx}: no client was available for a week of emulated time"
    return RoundError(problem, round_idx=round_idx)
