"""Which numbers of a forecast are exact."""

import pytest

from orchestrator.forecast.certainty import certainties_of
from tests.support.runs import prepared


@pytest.mark.parametrize("overrides", [(), ("algorithm.name=fedavgm",), ("fleet.deadline_s=1",)])
def test_dense_methods_are_exact(overrides: tuple[str, ...]) -> None:
    found = certainties_of(prepared(*overrides))
    assert (found.bytes, found.flops, found.emulated_s, found.reasons) == ("exact", "exact", "exact", ())


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("fleet.name=phones-and-edge", "phone-basic"),
        ("fleet.late=keep fleet.deadline_s=1", "fleet.late"),
    ],
)
def test_cohorts_that_may_shrink_are_an_upper_bound(override: str, reason: str) -> None:
    found = certainties_of(prepared(*override.split()))
    assert (found.bytes, found.flops) == ("at most", "estimate")
    assert reason in " ".join(found.reasons)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("algorithm.name=randommask", "masks"),
        ("algorithm.name=scaffold", "pack"),
        ("algorithm.name=tests.support.probing_methods:Asking", "plan_probe"),
        ("asynchrony.kind=fedasync", "asynchrony.kind"),
        ("selection.kind=power_of_choice", "selection.kind"),
    ],
)
def test_unknown_costs_are_an_estimate(override: str, reason: str) -> None:
    found = certainties_of(prepared(override))
    assert (found.bytes, found.flops, found.emulated_s) == ("estimate",) * 3
    assert reason in " ".join(found.reasons)
