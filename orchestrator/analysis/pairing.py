"""Differences between two configurations, seed by seed on the same split."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.analysis.configurations import Configuration
from orchestrator.analysis.runs import ComparedRun
from orchestrator.analysis.statistics import Spread, spread

#: what must agree in run.json for two runs to have had the same samples on the same clients
_SPLIT = ("data", "partition")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """`difference` is a configuration's value minus the baseline's; its values belong to `seeds`, ascending.

    Without any seed there is no mean.
    """

    seeds: tuple[int, ...]
    difference: Spread


def paired_difference(
    configuration: Configuration, baseline: Configuration, value: Callable[[ComparedRun], float | None]
) -> tuple[PairedDifference, list[str]]:
    """Pair the seeds that both have and whose runs saw the same split; a note for each pair that did not."""
    pairs: dict[int, float | None] = {}
    notes = []
    common = sorted(configuration.runs.keys() & baseline.runs.keys())
    for seed in common:
        run, base = configuration.runs[seed], baseline.runs[seed]
        problem = _different_split(run, base)
        if problem is None:
            ours, theirs = value(run), value(base)
            pairs[seed] = None if ours is None or theirs is None else ours - theirs
        else:
            notes.append(
                f"{run.run_id} is not paired with {base.run_id}, though both have seed {seed}: {problem}"
            )
    if not common:
        notes.append(
            f"{configuration.label} shares no seed with the baseline {baseline.label}: no difference"
        )
    return PairedDifference(seeds=tuple(pairs), difference=spread(pairs.values())), notes


def _different_split(run: ComparedRun, base: ComparedRun) -> str | None:
    for name in _SPLIT:
        digests = run.fingerprint.get(name), base.fingerprint.get(name)
        if None in digests:
            return f"run.json does not say which {name} they had"
        if digests[0] != digests[1]:
            return f"their {name} differs"
    return None
