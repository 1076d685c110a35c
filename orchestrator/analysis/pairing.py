"""Computes paired differences between two configurations: one difference per seed, on the same partition."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread, spread

#: fingerprints in run.json that are equal when two runs have the same samples on the same clients
_FINGERPRINTS = ("data", "partition")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Differences of a configuration from the baseline, one value per seed of `seeds` (ascending).

    A difference is the configuration's value minus the baseline's value. Without a common seed, there is no mean.
    """

    seeds: tuple[int, ...]
    difference: Spread


def paired_difference(
    configuration: Configuration, baseline: Configuration, value: Callable[[ComparedRun], float | None]
) -> tuple[PairedDifference, list[str]]:
    """Pair the common seeds whose runs have the same partition; return a note for each other pair."""
    pairs: dict[int, float | None] = {}
    notes = []
    common = sorted(configuration.runs.keys() & baseline.runs.keys())
    for seed in common:
        run, base = configuration.runs[seed], baseline.runs[seed]
        problem = _partition_problem(run, base)
        if problem is None:
            ours, theirs = value(run), value(base)
            pairs[seed] = None if ours is None or theirs is None else ours - theirs
        else:
            notes.append(
                f"{run.run_id} is not paired with {base.run_id}, though both have seed {seed}: {problem}"
            )
    if not common:
        notes.append(
            f"{configuration.label} has no difference: it shares no seed with the baseline {baseline.label}"
        )
    return PairedDifference(seeds=tuple(pairs), difference=spread(pairs.values())), notes


def _partition_problem(run: ComparedRun, base: ComparedRun) -> str | None:
    for name in _FINGERPRINTS:
        digests = run.fingerprint.get(name), base.fingerprint.get(name)
        if None in digests:
            return f"run.json has no fingerprint of their {name}"
        if digests[0] != digests[1]:
            return f"their {name} differs"
    return None
