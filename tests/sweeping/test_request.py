"""Requests: their defaults, and the combinations of options that are rejected."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.errors import RequestError
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest, as_option_error, with_tracking
from tests.support.sweeps import BASE, request, space_file


def _check(**options: Any) -> Objective:
    return plan_sweep(request(config=BASE, **options)).objective


def test_defaults_of_a_request() -> None:
    defaults = request()
    assert (defaults.search, defaults.scheduler, defaults.objective, defaults.seeds) == (
        "grid",
        "fifo",
        "accuracy",
        1,
    )
    assert (defaults.config, defaults.overrides) == ({}, {})
    assert (
        defaults.num_samples,
        defaults.max_concurrent,
        defaults.grace_rounds,
        defaults.perturb_rounds,
    ) == (None,) * 4
    assert (defaults.samples, request(num_samples=3).samples) == (10, 3)


def test_request_round_trips_through_json() -> None:
    original = request(config=BASE, overrides={"seed": [1, 2]}, search="tpe", num_samples=4, seeds=2)
    assert SweepRequest.model_validate_json(original.model_dump_json()) == original


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
def test_options_that_fit_together_are_accepted(options: dict[str, Any]) -> None:
    assert _check(**options) == Objective.parse(options.get("objective", "accuracy"))


@pytest.mark.parametrize(
    ("options", "field", "remedy"),
    [
        ({"num_samples": 3}, "--num-samples", "--seeds"),
        ({"overrides": {"algorithm.name": "fedavg"}, "search": "tpe"}, "--search", "grid"),
        ({"overrides": {"algorithm.name": "fedavg"}, "search": "random"}, "--search", "grid"),
        ({"overrides": {"seed": [1, 2]}, "seeds": 2}, "--seeds", "seed=0"),
        ({"space": "feddst", "search": "tpe", "seeds": 2, "scheduler": "asha"}, "--scheduler", "fifo"),
        ({"search": "nsga2"}, "--search", "--objective pareto"),
        ({"objective": "best"}, "--objective", "personal_accuracy"),
        ({"objective": "pareto", "scheduler": "asha"}, "--scheduler", "fifo"),
        ({"objective": "time_to_accuracy=0.5", "scheduler": "median"}, "--scheduler", "fifo"),
        ({"grace_rounds": 2}, "--grace-rounds", "leave it out"),
        ({"perturb_rounds": 2, "scheduler": "asha"}, "--perturb-rounds", "leave it out"),
        ({"space": "feddst", "scheduler": "pbt", "grace_rounds": 2}, "--grace-rounds", "leave it out"),
        ({"scheduler": "asha", "grace_rounds": 7}, "--grace-rounds", "use 6 or fewer"),
        ({"scheduler": "median", "grace_rounds": 50}, "--grace-rounds", "use 6 or fewer"),
        ({"space": "feddst", "scheduler": "pbt", "perturb_rounds": 5}, "--perturb-rounds", "use 4 or fewer"),
        ({"scheduler": "pbt"}, "--scheduler", "MUTATIONS"),
        ({"space": "feddst", "scheduler": "pbt", "search": "tpe"}, "--search", "random"),
        ({"space": "feddst", "scheduler": "pbt", "max_concurrent": 2}, "--max-concurrent", "--num-samples"),
        (
            {"space": "fedspa", "scheduler": "pbt", "overrides": {"training.lr": 0.1}},
            "--scheduler",
            "training.lr",
        ),
        (
            {
                "space": "feddst",
                "scheduler": "pbt",
                "overrides": {"sparsity.schedule": {"kind": "cubic"}},
                "num_samples": 2,
            },
            "--scheduler",
            "sparsity.schedule",
        ),
        ({"space": "feddst", "scheduler": "pbt", "seeds": 2}, "--seeds", "one seed"),
        ({"space": "feddst", "scheduler": "pbt", "overrides": {"seed": [1, 2]}}, "--scheduler", "one seed"),
    ],
)
def test_options_that_do_not_fit_together_are_rejected_in_one_line(
    options: dict[str, Any], field: str, remedy: str
) -> None:
    with pytest.raises(RequestError) as caught:
        _check(**options)
    name = field.removeprefix("--").replace("-", "_")
    assert (caught.value.field, caught.value.value) == (field, getattr(request(**options), name))
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_adaptive_search_rejects_a_space_without_domains(tmp_path: Path) -> None:
    space = space_file(tmp_path, 'SPACE = {"training.rounds": tune.sample_from(lambda config: 2)}')
    with pytest.raises(RequestError) as caught:
        _check(space=space, search="tpe")
    assert caught.value.field == "--search"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"num_samples": 0}, "--num-samples"),
        ({"seeds": "many"}, "--seeds"),
        ({"seeds": True}, "--seeds"),
        ({"search": "bayes"}, "--search"),
        ({"scheduler": "hyperband"}, "--scheduler"),
        ({"max_concurrent": -1}, "--max-concurrent"),
        ({"space": ["smoke"]}, "space"),
        ({"trials": 3}, "trials"),
    ],
)
def test_invalid_value_of_an_option_names_the_option_of_the_command_line(
    options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        request(**options)
    error = as_option_error(caught.value)
    assert (error.field, error.value) == (field, next(iter(options.values())))
    assert "\n" not in str(error)


def test_unknown_option_is_rejected_with_the_known_options() -> None:
    with pytest.raises(ValidationError) as caught:
        request(trials=3)
    remedy = as_option_error(caught.value).remedy
    assert all(option in remedy for option in SweepRequest.model_fields)


@pytest.mark.parametrize(
    "options",
    [
        {"config": {**BASE, "tracking": {"uri": "http://ann:secret@host", "experiment": "old"}}},
        {"config": BASE, "overrides": {"tracking.uri": "http://ann:secret@host"}},
        {
            "config": BASE,
            "overrides": {"tracking": {"uri": "http://ann:secret@host", "flush_timeout_s": 7.0}},
        },
        {"config": BASE},
    ],
)
def test_tracking_of_a_request_replaces_the_users_and_its_password(options: dict[str, Any]) -> None:
    values = {"tracking.uri": "http://host", "tracking.experiment": "e"}
    changed = with_tracking(request(**options), values)
    plan = plan_sweep(changed)
    assert "secret" not in changed.model_dump_json() + str(plan.base)
    assert (plan.config.tracking.uri, plan.config.tracking.experiment) == ("http://host", "e")
    given = options.get("overrides", {}).get("tracking", {})
    assert plan.config.tracking.flush_timeout_s == given.get("flush_timeout_s", 60.0)
    assert plan_sweep(SweepRequest.model_validate_json(changed.model_dump_json())).base == plan.base
