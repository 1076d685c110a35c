"""Who takes part in a round: the configured policy over the experiment's clients, devices and samples."""

from collections.abc import Collection, Mapping
from math import ceil
from types import MappingProxyType

from orchestrator.errors import RoundError
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.seeds import stream
from orchestrator.fleet.client_sampler import ClientSampler

#: emulated seconds between two looks at who has come back, and the looks before the run gives up: a week
POLL_INTERVAL_S, MAX_POLLS = 60.0, 7 * 24 * 60

_NOBODY: Mapping[int, float] = MappingProxyType({})


class CohortSampler:
    """Draws from named streams alone; what a client is worth to a policy comes from the caller."""

    def __init__(self, experiment: Experiment) -> None:
        config, self._setting = experiment.config, experiment.setting
        self._config, self._training = config.selection, config.training
        self._population = experiment.setting.population
        weighted = self._config.kind in ("samples", "power_of_choice")
        sizes = experiment.partition.train.sizes() if weighted else None
        self._urn = ClientSampler(len(self._population), sizes)
        drawn = ceil(round(config.fleet.over_selection * self._training.clients_per_round, 9))
        most = drawn if self._training.with_replacement else len(self._population)
        self.num_drawn = min(drawn, most)

    @property
    def asks_first(self) -> bool:
        """Whether the clients drawn are only candidates, whose losses decide (power-of-choice)."""
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
        """Clients for a round, in the order drawn; fewer than wanted where fewer are there.

        `now_s` is the emulated time, `busy` are clients that still work; `count` is how many are wanted (None: the
        cohort) in this `part` of the round's draws. With power-of-choice they are the candidates.
        """
        path = ("server", round_idx, "selection", *((part,) if part else ()))
        rng = stream(self._setting.seed, *path)
        wanted = self.num_drawn if count is None else count
        asked = wanted
        if self._config.kind in ("available", "power_of_choice"):
            asked = min(max(wanted, self._config.candidates or 2 * wanted), len(self._population))
        anyone = self._population.always_available and not busy

        def eligible(client_id: int) -> bool:
            return client_id not in busy and self._population.available_until(client_id, now_s) > now_s

        drawn = self._urn.sample(
            asked, rng, None if anyone else eligible, with_replacement=self._training.with_replacement
        )
        if self._config.kind == "available":
            stays = {k: self._population.available_until(k, now_s) for k in drawn}
            drawn = tuple(sorted(drawn, key=lambda k: -stays[k]))[:wanted]
        return drawn

    def wait_for_cohort(
        self, round_idx: int, now_s: float, busy_until_s: Mapping[int, float] = _NOBODY
    ) -> tuple[tuple[int, ...], float]:
        """A cohort of at least one client, and the emulated time at which there is one.

        `busy_until_s` says when clients that still work will be done.

        Raises RoundError when no client comes for a week.
        """
        for _ in range(MAX_POLLS):
            busy = {k for k, until_s in busy_until_s.items() if until_s > now_s}
            if cohort := self.cohort(round_idx, now_s=now_s, busy=busy):
                return cohort, now_s
            now_s += POLL_INTERVAL_S
        raise no_client_available(round_idx)

    def largest_losses(self, losses: Mapping[int, float]) -> tuple[int, ...]:
        """The cohort among candidates, by falling loss; ties go to the one drawn first.

        Power-of-choice, Cho, Wang and Joshi, arXiv 2010.01243, section 3.
        """
        return tuple(sorted(losses, key=lambda k: -losses[k])[: self.num_drawn])


def no_client_available(round_idx: int) -> RoundError:
    """The error of a round that has looked for clients often enough."""
    return RoundError(f"round {round_idx}: no client was available for a week of emulated time")
