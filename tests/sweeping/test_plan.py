"""Plans of sweeps: the shared config, the keys that vary, and the requests that are rejected before a start."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.formats import CONFIG_FORMATS
from orchestrator.config.overrides import parse_overrides, put_values
from orchestrator.errors import CheckpointError, ConfigError, RequestError
from orchestrator.storage.run_description import FORMAT_KEY
from orchestrator.sweeping.plan import SweepPlan, plan_resumed_sweep, plan_sweep
from orchestrator.sweeping.request import SweepRequest
from orchestrator.sweeping.store import SweepStore
from tests.support.sweeps import (
    BASE,
    new_store,
    request,
    space_file,
)

MINE = '''"""Mine."""
from ray import tune
SPACE = {"algorithm.name": "feddst", "training.rounds": 3, "training.lr": tune.uniform(0.1, 0.2)}
'''


def _plan(**options: Any) -> SweepPlan:
    return plan_sweep(request(**{"config": BASE, **options}))


def test_base_has_the_config_and_the_constants() -> None:
    plan = _plan(overrides={"training.lr": 0.2, "training.rounds": 3})
    assert plan.base == {
        "model": {"name": "mlp"},
        "fleet": {"num_clients": 8},
        "training": {"clients_per_round": 4, "rounds": 3, "local_epochs": 2, "lr": 0.2},
        "runtime": {"executor": "inprocess"},
        "tracking": {"enabled": False},
    }
    assert dict(plan.dimensions) == {"algorithm.name": {"grid_search": ["feddst", "fedavg"]}}
    assert BASE["training"]["rounds"] == 4, "planning does not change the request's config"


def test_trials_are_numbered_and_differ_in_the_varying_keys() -> None:
    trials = _plan().trials()
    assert [(trial.number, trial.values) for trial in trials] == [
        (0, {"algorithm.name": "feddst"}),
        (1, {"algorithm.name": "fedavg"}),
    ]


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"overrides": {"algorithm.name": "fedprox", "seed": [1, 2]}}, "fedprox"),
        ({"space": "feddst", "num_samples": 2}, "feddst"),
        ({"space": "feddst", "search": "tpe"}, "feddst"),
    ],
)
def test_method_is_a_value_of_every_trial(options: dict[str, Any], method: str) -> None:
    plan = _plan(**options)
    assert plan.dimensions["algorithm.name"] == method
    assert {trial.values["algorithm.name"] for trial in plan.trials()} == {method}


def test_default_method_is_a_value_of_every_trial(tmp_path: Path) -> None:
    plan = _plan(space=space_file(tmp_path, 'SPACE = {"training.lr": tune.grid_search([0.1, 0.2])}'))
    assert [trial.values for trial in plan.trials()] == [
        {"algorithm.name": "fedavg", "training.lr": 0.1},
        {"algorithm.name": "fedavg", "training.lr": 0.2},
    ]


def test_method_of_the_config_file_is_a_value_of_every_trial(tmp_path: Path) -> None:
    space = space_file(tmp_path, 'SPACE = {"training.lr": tune.grid_search([0.1])}')
    plan = _plan(space=space, config={**BASE, "algorithm": {"name": "fedprox", "mu": 0.5}})
    (trial,) = plan.trials()
    assert trial.values["algorithm.name"] == "fedprox"
    assert trial.config(plan.base).algorithm.model_dump() == {"name": "fedprox", "mu": 0.5}


def test_varying_method_is_a_single_dimension() -> None:
    plan = _plan(space="schedules")
    assert list(plan.dimensions) == ["algorithm", "algorithm.alpha", "sparsity.schedule"]
    assert {trial.values["algorithm.name"] for trial in plan.trials()} == {"feddst", "fedspa"}


def test_override_below_a_dimension_of_mappings_applies_to_every_trial() -> None:
    """The user's value applies to every trial."""
    plan = _plan(space="schedules", overrides={"algorithm.name": "feddst"})
    assert {trial.config(plan.base).algorithm.name for trial in plan.trials()} == {"feddst"}


@pytest.mark.parametrize("key", ["runtime.pool_size", "tracking.enabled", "runtime"])
def test_varying_runtime_or_tracking_is_rejected(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _plan(overrides={key: [1, 2]})
    assert caught.value.field == key


def test_plan_has_the_overridden_runtime() -> None:
    plan = _plan(overrides={"runtime.max_retries": 0, "tracking.experiment": "e"})
    assert (plan.config.runtime.max_retries, plan.config.tracking.experiment) == (0, "e")
    assert plan.config.runtime.executor == "inprocess"


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"training.rouns": 3}, "training.rouns"),
        ({"training.rounds": 0}, "training.rounds"),
        ({"training": 5}, "training"),
        ({"seed": "x"}, "seed"),
        ({"seed": -1}, "seed"),
        ({"training.lr": [0.1, -1.0]}, "training.lr"),
        ({"algorithm.name": ["fedavg", "fedavgg"]}, "algorithm.name"),
        ({"algorithm": "feddst"}, "algorithm"),
        ({"algorithm": None}, "algorithm"),
        ({"training.lr": []}, "training.lr"),
        ({"algorithm.name": []}, "algorithm.name"),
    ],
)
def test_invalid_value_is_rejected_by_its_key(overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        _plan(overrides=overrides).trials()
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_error_names_the_invalid_trial() -> None:
    with pytest.raises(ConfigError, match=r"\btrial 8\b") as caught:
        _plan(overrides={"training.lr": [0.1, 0.2, 0.3, 0.4, -1.0]}).trials()
    assert (caught.value.field, float(str(caught.value.value))) == ("training.lr", -1.0)


def test_date_in_a_list_stays_text() -> None:
    """YAML would read a date, and JSON has no dates."""
    overrides = parse_overrides(["data.client_column=[2024-01-31, x]", "algorithm.name=fedavg"])
    values = [trial.values["data.client_column"] for trial in _plan(overrides=overrides).trials()]
    assert values == ["2024-01-31", "x"]


def test_seed_of_the_config_is_the_root_seed() -> None:
    assert _plan().seed == 0
    plan = _plan(config={**BASE, "seed": 5}, seeds=2)
    assert plan.seed == 5
    assert [trial.values["seed"] for trial in plan.trials()] == [5, 6, 5, 6]
    trials = [_plan(space="feddst", overrides={"seed": seed}).trials() for seed in (1, 1, 2)]
    assert trials[0] == trials[1] != trials[2]


def test_varying_seeds_do_not_change_the_root_seed() -> None:
    plan = _plan(overrides={"seed": [3, 4]}, config={**BASE, "seed": 9})
    assert plan.seed == 9
    assert [(t.values["algorithm.name"], t.values["seed"]) for t in plan.trials()] == [
        ("feddst", 3),
        ("fedavg", 3),
        ("feddst", 4),
        ("fedavg", 4),
    ]


@pytest.mark.parametrize(
    ("search", "adaptive"), [("grid", False), ("random", False), ("tpe", True), ("nsga2", True)]
)
def test_tpe_and_nsga2_are_adaptive(search: str, adaptive: bool) -> None:
    objective = "pareto" if search == "nsga2" else "accuracy"
    assert _plan(space="feddst", search=search, objective=objective).is_adaptive is adaptive


def test_only_pbt_has_mutable_keys() -> None:
    assert _plan(space="fedspa").mutable == ()
    assert _plan(space="fedspa", scheduler="pbt").mutable == ("training.lr", "algorithm.alpha")


def test_resumed_sweep_has_the_same_plan(tmp_path: Path) -> None:
    plan, store = _plan(space="feddst", num_samples=3, seeds=2), new_store(tmp_path)
    store.describe(
        {
            FORMAT_KEY: CONFIG_FORMATS.latest,
            "request": plan.request.model_dump(mode="json"),
            "base": dict(plan.base),
        }
    )
    again = plan_resumed_sweep(store)
    assert (again.request, again.trials()) == (plan.request, plan.trials())
    assert again.base == put_values(plan.base, {"runtime.storage": str(store.folder.parent)})
    assert plan_resumed_sweep(store, max_concurrent=3).request.max_concurrent == 3


@pytest.mark.parametrize("text", ["", "{", "[]", '{"request": {}}', '{"base": {}}'])
def test_resume_rejects_unreadable_sweep_json(tmp_path: Path, text: str) -> None:
    store = new_store(tmp_path)
    (store.folder / "sweep.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"sweep\.json"):
        plan_resumed_sweep(store)


def test_resume_rejects_unknown_option_in_sweep_json(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.describe({"request": {"space": "smoke", "no_longer": 1}, "base": {}})
    with pytest.raises(CheckpointError, match="no_longer"):
        plan_resumed_sweep(store)


def _stored(tmp_path: Path, space: Path, **options: Any) -> SweepStore:
    """Write a sweep's folder as the command does before the first trial."""
    store = new_store(tmp_path)
    request = SweepRequest(space=str(space), **options)
    plan = plan_sweep(request)
    dimensions = {key: str(value) for key, value in plan.dimensions.items()}
    store.describe(
        {
            FORMAT_KEY: CONFIG_FORMATS.latest,
            "request": plan.request.model_dump(mode="json"),
            "base": dict(plan.base),
            "dimensions": dimensions,
        }
    )
    return store


def test_resumed_sweep_uses_the_present_place_of_its_folder(tmp_path: Path) -> None:
    space = tmp_path / "mine.py"
    space.write_text(MINE)
    store = _stored(tmp_path, space)
    again = plan_resumed_sweep(store)
    assert again.config.runtime.storage == store.folder.parent
    assert again.base["runtime"]["storage"] == str(store.folder.parent)


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("accuracy", "test_accuracy"),
        ("time_to_accuracy=0.9", "test_time_to_accuracy=0.9"),
        ("validation_accuracy", "validation_accuracy"),
        ("test_pareto", "test_pareto"),
    ],
)
def test_resumed_sweep_of_an_earlier_version_keeps_its_test_data(
    tmp_path: Path, stored: str, text: str
) -> None:
    """Earlier versions stored objectives without the name of their data."""
    space = tmp_path / "mine.py"
    space.write_text(MINE)
    store = _stored(tmp_path, space)
    about = store.about()
    assert about["request"]["objective"] == "validation_accuracy"
    assert about.pop(FORMAT_KEY) == CONFIG_FORMATS.latest
    store.describe({**about, "request": {**about["request"], "objective": stored}})
    again = plan_resumed_sweep(store)
    assert (again.objective.text, again.request.objective) == (text, text)
    assert again.config.fleet.sparse_efficiency == 1.0, (
        "the description has no format, so that it is an old one"
    )


@pytest.mark.parametrize(
    ("constant", "overrides", "expected"),
    [
        ("", {}, [0.3053]),
        ("", {"data.name": "digits"}, [0.3053]),
        ("", {"data.name": "mnist"}, None),
        ('"data.name": "mnist", ', {}, None),
        ("", {"data.name": ["digits", "mnist"]}, None),
    ],
    ids=["default", "digits", "override", "constant of the space", "dimension"],
)
def test_resumed_sweep_of_format_1_normalises_only_the_digits_as_before(
    tmp_path: Path, constant: str, overrides: dict[str, Any], expected: list[float] | None
) -> None:
    space = tmp_path / f"format_1_{len(constant)}_{len(str(overrides))}.py"
    space.write_text(MINE.replace('SPACE = {"', f'SPACE = {{{constant}"'))
    store = _stored(tmp_path, space, overrides=overrides)
    about = store.about()
    del about[FORMAT_KEY]
    store.describe(about)
    again = plan_resumed_sweep(store)
    assert again.base["data"]["mean"] == expected
    assert all(spec.config(again.base).data.mean == (expected and tuple(expected)) for spec in again.trials())


@pytest.mark.parametrize("search", ["grid", "random", "tpe"])
@pytest.mark.parametrize("key", ["data.validation_fraction", "data"])
def test_search_without_validation_samples_is_rejected(search: str, key: str) -> None:
    value: Any = 0 if key == "data.validation_fraction" else {"validation_fraction": 0}
    config = put_values(dict(BASE), {"data.validation_fraction": 0})
    for options in ({"overrides": {key: value}}, {"config": config}):
        with pytest.raises(ConfigError) as caught:
            _plan(search=search, **options).trials()
        assert (caught.value.field, caught.value.value) == ("data.validation_fraction", 0.0)
        _plan(search=search, objective="test_accuracy", **options)


def test_every_listed_trial_needs_validation_samples() -> None:
    """The second of two fractions is 0."""
    options: dict[str, Any] = {"overrides": {"data.validation_fraction": [0.1, 0.0]}}
    with pytest.raises(ConfigError) as caught:
        _plan(**options).trials()
    assert caught.value.field == "data.validation_fraction"
    assert len(_plan(objective="test_accuracy", **options).trials()) == 4


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ('"training.rounds": 3', '"training.rounds": 4', "training.rounds"),
        ("training.lr", "training.momentum", "training.lr"),
    ],
)
def test_resume_rejects_changed_space(tmp_path: Path, before: str, after: str, named: str) -> None:
    space = tmp_path / f"mine_{after.strip(chr(34)).replace('.', '_')[:14]}.py"
    space.write_text(MINE)
    store = _stored(tmp_path, space)
    changed = tmp_path / f"changed_{space.name}"
    changed.write_text(MINE.replace(before, after))
    about = store.about()
    store.describe({**about, "request": {**about["request"], "space": str(changed)}})
    with pytest.raises(CheckpointError, match=named):
        plan_resumed_sweep(store)


def test_plan_lists_keys_of_the_config_file_that_the_space_overrides() -> None:
    plan = plan_sweep(SweepRequest(space="smoke", config={"model": {"name": "cnn"}, "training": {"lr": 0.1}}))
    assert plan.overridden == ("model.name",)
    assert plan.config.model.name == "mlp"
    fixed = SweepRequest(space="smoke", config={"model": {"name": "cnn"}}, overrides={"model.name": "mlp"})
    assert plan_sweep(fixed).overridden == ()
