"""Plans of studies: the config trees of tuning and reported runs."""

from pathlib import Path

import pytest

from orchestrator.config.overrides import flatten
from orchestrator.errors import ConfigError, DataError, RequestError
from orchestrator.studies.contrasts import pairs_of
from orchestrator.studies.plan import Cell
from tests.support.studies import SMALL, TWO_SETTINGS, small_plan

MASKED, FROZEN = Cell("digits", "masked"), Cell("digits", "frozen")


def test_later_parts_of_the_config_win(tmp_path: Path) -> None:
    text = SMALL.replace(
        "tune: {algorithm.alpha: [0.05, 0.2]}",
        "tune: {algorithm.alpha: [0.05, 0.2]}\n    scales: {quick: {training: {rounds: 3}}}",
    )
    plan = small_plan(tmp_path, text=text)
    config = flatten(plan.report_config(MASKED, {"training.lr": 0.2}))
    assert config["training.rounds"] == 3, "the arm's own rounds"
    assert config["training.lr"] == 0.2
    assert config["data.partition.alpha"] == 1.0
    assert flatten(plan.tuning_config(MASKED, {}))["training.rounds"] == 2, "tuning is equal for all arms"
    assert flatten(plan.report_config(FROZEN, {}))["training.rounds"] == 6


def test_tuning_tries_every_value_of_the_knob_with_every_learning_rate(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    tried = [(cell.arm, dict(values)) for cell, values, _ in plan.tuning_entries()]
    rates = (0.05, 0.1)
    assert tried == [
        *(("dense", {"training.lr": lr}) for lr in rates),
        *(("masked", {"training.lr": lr, "algorithm.alpha": alpha}) for lr in rates for alpha in (0.05, 0.2)),
    ]


def test_ablation_takes_the_values_that_its_method_has_and_its_config_does_not_set(tmp_path: Path) -> None:
    text = SMALL.replace(
        "config: {algorithm: {name: randommask}, sparsity: {level: 0.8}}",
        "config: {algorithm: {name: feddst, alpha: 0.5}, training: {momentum: 0.5}}",
    )
    chosen = {MASKED: {"training.lr": 0.1, "algorithm.alpha": 0.2}}
    assert small_plan(tmp_path, text=text).values_for(FROZEN, chosen) == {"training.lr": 0.1}
    assert small_plan(tmp_path).values_for(FROZEN, chosen) == {"training.lr": 0.1}


def test_scale_decides_settings_and_caps(tmp_path: Path) -> None:
    assert small_plan(tmp_path).upload_cap("digits") == 900_000.0
    assert small_plan(tmp_path, scale="paper").upload_cap("digits") == 9_000_000.0
    text = SMALL.replace("      paper: {upload_cap: 9MB}\n", "")
    assert small_plan(tmp_path, scale="paper", text=text).cells == ()


def test_invalid_config_names_setting_and_arm(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, text=SMALL.replace("{name: randommask}", "{name: randommask, alpha: 1}"))
    with pytest.raises(RequestError, match="setting digits, arm frozen") as error:
        plan.check()
    assert error.value.field == "algorithm.alpha"


def test_study_without_validation_data_is_rejected(tmp_path: Path) -> None:
    text = SMALL.replace("data: {partition: {alpha: 1.0}}", "data: {validation_fraction: 0}")
    with pytest.raises(ConfigError) as error:
        small_plan(tmp_path, text=text).check()
    assert error.value.field == "data.validation_fraction"


def test_missing_data_is_rejected(tmp_path: Path) -> None:
    text = SMALL.replace("data: digits", "data: mnist")
    with pytest.raises(DataError) as error:
        small_plan(tmp_path, text=text).check()
    assert error.value.field == "--data"


def test_only_the_chosen_settings_run(tmp_path: Path) -> None:
    whole = small_plan(tmp_path, text=TWO_SETTINGS)
    assert (whole.settings, whole.is_part) == (("large-clients", "digits"), False)
    part = small_plan(tmp_path, text=TWO_SETTINGS, settings=("digits",))
    assert (part.settings, part.is_part) == (("digits",), True)
    assert {cell.setting for cell in part.cells} == {"digits"}
    assert {setting for setting, _, _ in pairs_of(part, part.study.contrasts["at-cap"])} == {"digits"}
