"""Samples the cohort of a round by the configured policy (`selection.*`)."""

from collections.abc import Collection, Mapping
from math import ceil
from types import MappingProxyType

from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import stream
from orchestrator.fleet.client_sampler import ClientSampler

#: emulated seconds between two checks for available clients, and the number of checks: a week
POLL_INTERVAL_S, MAX_POLLS = 60.0, 7 * 24 * 60

_NOBODY: Mapping[int, float] = MappingProxyType({})


class CohortSampler:
    """Samples clients from named random streams. The caller supplies the losses for power-of-choice."""

    def __init__(self, experiment: Experiment) -> None:
        config, self._setting = experiment.config, experiment.setting
        self._config, self._training = config.selection, config.training
        self._population = experiment.setting.population
        weighted = self._config.kind in ("samples", "power_of_choice")
        sizes = experiment.partition.train.sizes() if weighted else None
        self._clients = ClientSampler(len(self._population), sizes)
        wanted = ceil(round(config.fleet.over_selection * self._training.clients_per_round, 9))
        most = wanted if self._training.with_replacement else len(self._population)
        self.cohort_size = min(wanted, most)

    @property
    def needs_losses(self) -> bool:
        """Whether `cohort` gives only candidates, and their losses decide (power-of-choice)."""
        return self._config.kind == "power_of_choice"

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
            num_candidates = min(max(wanted, self._config.candidates or 2 * wanted), len(self._population))
        all_eligible = self._population.always_available and not busy

        def eligible(client_id: int) -> bool:
            return client_id not in busy and self._population.available_until(client_id, now_s) > now_s

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
