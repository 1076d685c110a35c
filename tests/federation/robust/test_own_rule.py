"""A user's function in the place of an average, with numbers by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.robustness import AggregationConfig
from orchestrator.errors import ConfigError
from orchestrator.federation.aggregate import Aggregate, AggregationName
from orchestrator.federation.robust.aggregator import RobustAggregator
from orchestrator.federation.robust.own_rule import load_rule
from orchestrator.sparsity.payload import Dense, Scalar
from tests.support.kept_updates import sent

NAME = "tests.support.aggregation_rules:clipped_mean"


def _combined(
    function: Callable[..., Any], average: AggregationName = "covmean", **options: Any
) -> Aggregate:
    """Three clients with weights 1, 1 and 2; the second one does not hold the last two of four entries."""
    config = AggregationConfig.model_validate({"rule": NAME, "options": options})
    aggregator = RobustAggregator(config, average, function)
    items = [(Dense("scores", np.array([k, 9.0], np.float32)), Scalar("loss", float(k))) for k in range(3)]
    aggregator.add(sent([0.5, -4.0, 1.0, 0.0], [1, 1, 1, 0], weight=1.0, start=0.25, items=items[0]))
    aggregator.add(sent([0.25, 1.0, 0.0, 0.0], [1, 1, 0, 0], weight=1.0, start=0.25, items=items[1]))
    aggregator.add(sent([1.0, 0.5, 4.0, 0.0], [1, 1, 1, 0], weight=2.0, start=0.25, items=items[2]))
    return aggregator.finish(torch.full((4,), 0.25))


def _rule() -> Callable[..., Any]:
    rule = load_rule(NAME)
    assert rule is not None
    return rule


def test_values_are_combined_over_the_clients_that_hold_them() -> None:
    """Limit 2: (0.5 + 0.25 + 2) / 4; (-2 + 1 + 1) / 4; (1 + 2 * 2) / 3; the server's 0.25."""
    found = _combined(_rule(), limit=2.0)
    assert found.values.tolist() == pytest.approx([0.6875, 0.0, 5 / 3, 0.25])
    assert found.coverage is not None
    assert found.coverage.tolist() == [4.0, 4.0, 3.0, 0.0]
    assert found.total_weight == 4.0


def test_changes_are_combined_where_the_average_is_one_of_changes() -> None:
    """Changes 0.25, 0, 0.75 of the first entry, limited to 0.5: 0.25 + (0.25 + 0 + 2 * 0.5) / 4."""
    assert float(_combined(_rule(), "dmean", limit=0.5).values[0]) == 0.5625


def test_further_items_are_combined_too() -> None:
    """Scores 0, 1, 2 of weights 1, 1, 2, limited to 1; 9 limited to 1."""
    found = _combined(_rule())
    assert found.extras["scores"].tolist() == [0.75, 1.0]
    assert float(found.extras["loss"]) == 0.75


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda values, held, weights: values.mean(), "returned float64() for 2 entries"),
        (lambda values, held, weights: values, "returned float64(3, 2) for 2 entries"),
        (lambda values, held, weights: None, "returned object() for 2 entries"),
        (lambda values, held, weights: values[0] > 0, "returned bool(2,) for 2 entries"),
        (
            lambda values, held, weights: values.max(axis=0) * np.nan,
            "a number that is not finite for an entry",
        ),
        (lambda values, held: values[0], "raised TypeError: "),
        (lambda values, held, weights: values.sort(axis=0), "raised ValueError: "),
    ],
)
def test_wrong_result_is_one_line(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(ValueError, match="the function of aggregation") as caught:
        _combined(function)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_entries_that_nobody_holds_may_have_any_number() -> None:
    found = _combined(lambda values, held, weights: np.where(held.any(axis=0), 1.0, np.nan))
    assert found.values.tolist() == [1.0, 1.0, 1.0, 0.25]


def test_only_names_with_an_object_are_loaded() -> None:
    assert load_rule("median") is None
    with pytest.raises(ConfigError, match="it is a module, not a function") as caught:
        load_rule("tests.support.aggregation_rules:np")
    assert caught.value.field == "aggregation.rule"
