"""Computes how many weights each layer keeps at a given density.

Legend: N_l = weights of layer l, n_l = its weights and biases, d = density, T_l = kept weights. Users set the sparsity
level 1 - d, so that errors give levels.

The rules use rational arithmetic, so that the floor of an exact product is never one too small.
"""

from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from math import floor, prod

from orchestrator.config.sections import AllocationKind, SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.formatting import counted
from orchestrator.models.parameters import ParameterLayout, Segment
from orchestrator.sparsity.exact import exact_share
from orchestrator.suggest import suggest

#: the smallest density is found in steps of 1 / _DENSITY_STEPS
_DENSITY_STEPS = 10**6
#: tolerance when a density, which may come from a float, is compared with the implied density
_SAME_DENSITY = Fraction(1, 10**12)


def allocate(layout: ParameterLayout, density: float, sparsity: SparsityConfig) -> dict[str, int]:
    """Return the weights to keep in each maskable segment, 1 <= T_l <= N_l. Density 1 gives T_l = N_l for every rule.

    `sparsity.allocation` names the rule (None: erk_rescaled):

    - uniform: T_l = floor(d N_l).
    - er, erk: T_l = floor(d_l N_l) with d_l = min(1, eps * raw_l), raw_l = (sum of dims) / (product of dims) of the
      weight tensor (er: input and output dims only), and eps such that sum d_l N_l = d sum N_l. Layers that would
      exceed 1 are dense, and eps is solved again for the others (Evci et al., RigL, arXiv 1911.11134, section 3).
    - erk_rescaled: T_l = floor((1 - s_l) n_l) with u_l = 1 - raw_l and s_l = u_l (1 - d) sum(n_l) / sum(u_l n_l), as in
      the public code of FedDST (Bibikar et al., arXiv 2112.09824). n_l includes the bias `X.bias` of `X.weight`, and
      T_l is at most N_l.
    - explicit: as er with raw_l = `sparsity.layer_density[l]` for the layers named there. All other layers are dense at
      every density. At density implied_density(...), eps = 1 and T_l = floor(raw_l N_l).

    Raises ConfigError for a density outside (0, 1], when a layer would keep no weight, and for a name in
    `sparsity.layer_density` that no maskable segment has.
    """
    if not 0.0 < density <= 1.0:
        problem = "the level must be at least 0 and below 1"
        raise ConfigError("sparsity.level", 1.0 - density, problem, "choose a level in [0, 1)")
    exact = exact_share(density)
    if sparsity.allocation == "explicit":
        implied = implied_density(layout, sparsity.layer_density)
        exact = implied if abs(Fraction(density) - implied) < _SAME_DENSITY else exact
    counts = _counts(layout, exact, sparsity)
    layers = [s for s in layout.maskable if s.size]
    smallest = min(layers, key=lambda s: counts[s.name], default=None)
    if smallest is not None and counts[smallest.name] < 1:
        highest = float(1 - smallest_density(layout, sparsity))
        raise ConfigError(
            "sparsity.level",
            float(1 - exact),
            f"allocation {sparsity.allocation} keeps none of the {counted(smallest.size, 'weight')} of layer "
            f"{smallest.name}",
            f"lower it to {highest} or less, or choose another sparsity.allocation",
        )
    return counts


def share_out(total: int, weights: Mapping[str, float], limits: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` among names in proportion to `weights`, at least 0 and at most `limits[name]` each.

    What a full name cannot take is divided among the others. The largest weight gets what rounding leaves.
    """
    given, open_names = (
        dict.fromkeys(weights, 0),
        [name for name in weights if limits[name] and weights[name] > 0],
    )
    while open_names and (rest := total - sum(given.values())) > 0:
        whole = sum(weights[name] for name in open_names)
        exact = {name: rest * weights[name] / whole for name in open_names}
        steps = {name: min(limits[name] - given[name], int(exact[name] + 1e-9)) for name in open_names}
        if not any(steps.values()):
            best = max(open_names, key=lambda name: exact[name])
            steps = {best: 1}
        for name, step in steps.items():
            given[name] += step
        open_names = [name for name in open_names if given[name] < limits[name]]
    return given


def implied_density(layout: ParameterLayout, layer_density: Mapping[str, float]) -> Fraction:
    """Return the density of explicit densities d_l: sum d_l N_l / sum N_l, with d_l = 1 for other layers.

    The density is 1 for a model without maskable segments. Raises ConfigError for a name that no maskable segment has.
    """
    raw = _explicit(layout, layer_density)
    if not layout.num_maskable:
        return Fraction(1)
    kept = sum(raw.get(s.name, Fraction(1)) * s.size for s in layout.maskable)
    return Fraction(kept) / layout.num_maskable


def smallest_density(layout: ParameterLayout, sparsity: SparsityConfig) -> Fraction:
    """Return the lowest density, in steps of 1e-6, at which every layer keeps a weight.

    A bisection finds the density, since no count decreases when the density rises.
    """
    layers = [s for s in layout.maskable if s.size]
    infeasible, feasible = 0, _DENSITY_STEPS
    while feasible - infeasible > 1:
        middle = (feasible + infeasible) // 2
        counts = _counts(layout, Fraction(middle, _DENSITY_STEPS), sparsity)
        if all(counts[s.name] >= 1 for s in layers):
            feasible = middle
        else:
            infeasible = middle
    return Fraction(feasible, _DENSITY_STEPS)


def _counts(layout: ParameterLayout, density: Fraction, sparsity: SparsityConfig) -> dict[str, int]:
    """Return T_l by name, at most N_l. The result of a rule may be below 1."""
    layer_density = tuple(sparsity.layer_density.items())
    return dict(_counts_of(layout, density, sparsity.allocation or "erk_rescaled", layer_density))


@lru_cache(maxsize=128)  # with client masks, server and client compute the same counts for every task
def _counts_of(
    layout: ParameterLayout,
    density: Fraction,
    kind: AllocationKind,
    layer_density: tuple[tuple[str, float], ...],
) -> Mapping[str, int]:
    layers = [s for s in layout.maskable if s.size]
    counts = {s.name: s.size for s in layout.maskable}
    if density == 1 or not layers:
        return counts
    budget = density * layout.num_maskable
    if kind == "uniform":
        targets = {s.name: density * s.size for s in layers}
    elif kind == "erk_rescaled":
        targets = _rescaled(layers, _num_biases(layout), density)
    elif kind == "explicit":
        raw = _explicit(layout, dict(layer_density))
        dense = [s for s in layers if s.name not in raw]
        scaled = [s for s in layers if s.name in raw]
        targets = _saturating(scaled, raw, budget - sum(s.size for s in dense))
        targets |= {s.name: Fraction(s.size) for s in dense}
    else:
        raw = {s.name: _raw_density(s, kernel=kind == "erk") for s in layers}
        targets = _saturating(layers, raw, budget)
    return counts | {s.name: min(floor(targets[s.name]), s.size) for s in layers}


def _explicit(layout: ParameterLayout, layer_density: Mapping[str, float]) -> dict[str, Fraction]:
    """Return the explicit densities as exact fractions. Raises ConfigError for an unknown name."""
    known = [s.name for s in layout.maskable]
    for name, density in layer_density.items():
        if name not in known:
            choices = f"choose one of {', '.join(known)}" if known else "remove it: no weight can be masked"
            remedy = suggest(name, known, choices)
            problem = "the model has no maskable weight tensor with this name"
            raise ConfigError(f"sparsity.layer_density.{name}", density, problem, remedy)
    return {n: exact_share(d) for n, d in layer_density.items()}


def _raw_density(segment: Segment, *, kernel: bool) -> Fraction:
    dims = segment.shape if kernel else segment.shape[:2]
    return Fraction(sum(dims), prod(dims))


def _num_biases(layout: ParameterLayout) -> dict[str, int]:
    """Return the number of entries of the bias `X.bias` of each weight `X.weight`, by weight name; 0 without a bias."""
    biases = {s.name: s.size for s in layout.segments if s.kind == "bias"}
    counts: dict[str, int] = {}
    for segment in layout.maskable:
        prefix, dot, last = segment.name.rpartition(".")
        counts[segment.name] = biases.get(f"{prefix}{dot}bias", 0) if last == "weight" else 0
    return counts


def _rescaled(layers: list[Segment], num_biases: Mapping[str, int], density: Fraction) -> dict[str, Fraction]:
    """Return the targets of erk_rescaled: scale the raw layer sparsities u_l by one factor."""
    sizes = {s.name: s.size + num_biases[s.name] for s in layers}
    raw = {s.name: 1 - _raw_density(s, kernel=True) for s in layers}
    capacity = sum(raw[name] * size for name, size in sizes.items())
    if capacity <= 0:
        raise ConfigError(
            "sparsity.allocation",
            "erk_rescaled",
            "the layers are too small for this rule",
            "use uniform",
        )
    factor = (1 - density) * sum(sizes.values()) / capacity
    return {name: (1 - raw[name] * factor) * size for name, size in sizes.items()}


def _saturating(layers: list[Segment], raw: Mapping[str, Fraction], budget: Fraction) -> dict[str, Fraction]:
    """Scale the raw layer densities by eps. Layers that exceed density 1 are dense; the others share the rest."""
    targets = {s.name: Fraction(s.size) for s in layers}
    scaled = layers
    while scaled:
        eps = budget / sum(raw[s.name] * s.size for s in scaled)
        largest = max(raw[s.name] for s in scaled)
        if eps * largest <= 1:
            return targets | {s.name: eps * raw[s.name] * s.size for s in scaled}
        budget -= sum(s.size for s in scaled if raw[s.name] == largest)
        scaled = [s for s in scaled if raw[s.name] < largest]
    return targets
