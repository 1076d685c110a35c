"""Requests: their defaults, and every combination that is refused, in one line with what to do."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest, as_option_error
from tests.support.sweeps import BASE, request, space_file


def _check(**options: Any) -> Objective:
    return plan_sweep(request(config=BASE, **options)).objective


def test_a_request_for_a_space_alone_is_its_grid() -> None:
    asked = request()
    assert (asked.search, asked.scheduler, asked.objective, asked.seeds) == ("grid", "fifo", "accuracy", 1)
    assert (asked.config, asked.overrides) == ({}, {})
    assert (asked.num_samples, asked.max_concurrent, asked.grace_rounds, asked.perturb_rounds) == (None,) * 4
    assert (asked.samples, request(num_samples=3).samples) == (10, 3)


def test_a_request_round_trips_through_json() -> None:
    asked = request(config=BASE, overrides={"seed": [1, 2]}, search="tpe", num_samples=4, seeds=2)
    assert SweepRequest.model_validate_json(asked.model_dump_json()) == asked


@pytest.mark.parametrize(
    "options",
    [
        {"space": "feddst", "num_samples": 3},
        {"space": "feddst", "search": "random"},
        {"space": "feddst", "search": "tpe", "seeds": 2},
        {"space": "feddst", "search": "tpe", "scheduler": "asha", "grace_rounds": 1},
        {"space": "feddst", "search": "nsga2", "objective": "pareto"},
        {"space": "feddst", "scheduler": "pbt", "perturb_rounds": 2},
        {"space": "feddst", "search": "random", "scheduler": "pbt"},
        {"search": "random", "num_samples": 2},
        {"seeds": 3, "scheduler": "median", "grace_rounds": 2},
        {"overrides": {"algorithm.name": "fedavg"}},
        {"overrides": {"seed": [1, 2]}},
        {"overrides": {"seed": 4}, "seeds": 2},
    ],
)
def test_what_goes_together_is_taken(options: dict[str, Any]) -> None:
    assert _check(**options).text == options.get("objective", "accuracy")


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"num_samples": 3}, "--num-samples", "nothing to draw; leave it out; --seeds repeats"),
        (
            {"overrides": {"algorithm.name": "fedavg"}, "search": "tpe"},
            "--search",
            "nothing to draw; use grid",
        ),
        ({"overrides": {"algorithm.name": "fedavg"}, "search": "random"}, "--search", "leave a dimension"),
        ({"overrides": {"seed": [1, 2]}, "seeds": 2}, "--seeds", "has seeds of its own; leave it out"),
        (
            {"space": "feddst", "search": "tpe", "seeds": 2, "scheduler": "asha"},
            "--scheduler",
            "mean over all seeds, which stopped trials do not have; use fifo, or one seed",
        ),
        ({"search": "nsga2"}, "--search", "it looks for a Pareto front; use --objective pareto"),
        ({"objective": "best"}, "--objective", "there is no such objective"),
        (
            {"objective": "pareto", "scheduler": "asha"},
            "--scheduler",
            "only when a trial has ended; use fifo",
        ),
        ({"objective": "time_to_accuracy=0.5", "scheduler": "median"}, "--scheduler", "use fifo, or an"),
        ({"grace_rounds": 2}, "--grace-rounds", "--scheduler fifo has no use for it; leave it out"),
        ({"perturb_rounds": 2, "scheduler": "asha"}, "--perturb-rounds", "--scheduler asha has no use"),
        (
            {"space": "feddst", "scheduler": "pbt", "grace_rounds": 2},
            "--grace-rounds",
            "--scheduler pbt has no use for it",
        ),
        ({"scheduler": "pbt"}, "--scheduler", "space smoke has no MUTATIONS"),
        ({"space": "feddst", "scheduler": "pbt", "search": "tpe"}, "--search", "use grid or random"),
        (
            {"space": "feddst", "scheduler": "pbt", "max_concurrent": 2},
            "--max-concurrent",
            "a population lives at the same time",
        ),
        (
            {"space": "fedspa", "scheduler": "pbt", "overrides": {"training.lr": 0.1}},
            "--scheduler",
            "change training.lr, which the command fixes; leave that key to the sweep",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(
    options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        _check(**options)
    assert caught.value.field == field
    assert words in str(caught.value)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_key_above_a_mutation_is_fixed_too() -> None:
    with pytest.raises(RequestError, match=r"sparsity\.schedule"):
        _check(
            space="feddst", scheduler="pbt", overrides={"sparsity.schedule": {"kind": "cubic"}}, num_samples=2
        )


def test_a_search_that_learns_needs_something_to_draw(tmp_path: Path) -> None:
    space = space_file(tmp_path, 'SPACE = {"training.rounds": tune.sample_from(lambda config: 2)}')
    with pytest.raises(RequestError) as caught:
        _check(space=space, search="tpe")
    assert caught.value.field == "--search"


@pytest.mark.parametrize(
    ("options", "field", "words"),
    [
        ({"num_samples": 0}, "--num-samples", "greater than or equal to 1; it is: draws"),
        ({"seeds": "many"}, "--seeds", "valid integer"),
        ({"seeds": True}, "--seeds", "valid integer"),
        ({"search": "bayes"}, "--search", "input should be 'grid', 'random', 'tpe' or 'nsga2'"),
        ({"scheduler": "hyperband"}, "--scheduler", "'pbt'; it is: which trials are stopped early"),
        ({"max_concurrent": -1}, "--max-concurrent", "it is: trials at a time"),
        ({"space": None}, "space", "it is: name of a search space"),
        ({"trials": 3}, "trials", "there is no such option; choose among space, config, overrides"),
    ],
)
def test_an_option_that_is_none_is_refused_as_on_the_command_line(
    options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        request(**options)
    error = as_option_error(caught.value)
    assert error.field == field
    assert words in str(error)
    assert "\n" not in str(error)
