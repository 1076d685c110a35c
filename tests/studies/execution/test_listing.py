"""The configurations of a stage as a search space."""

from pathlib import Path

from orchestrator.config.overrides import flatten, put_values
from orchestrator.studies.execution.listing import list_configurations, write_space
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest
from tests.support.studies import SMALL, small_plan


def test_base_and_values_give_every_config_again(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    trees = [tree for _, _, tree in plan.tuning_entries()]
    listing = list_configurations(plan, trees)
    for tree, number in zip(trees, listing.index, strict=True):
        assert put_values(listing.base, listing.configurations[number]) == put_values({}, flatten(tree))
    assert "training.rounds" in flatten(listing.base)
    assert all("algorithm.name" in values for values in listing.configurations)


def test_arms_with_equal_configs_share_a_configuration(tmp_path: Path) -> None:
    text = SMALL.replace("{name: randommask}, sparsity: {level: 0.8}", "{name: feddst, alpha: 0.2}")
    text = text.replace("{name: feddst}, sparsity: {level: 0.8}", "{name: feddst}, sparsity: {level: null}")
    plan = small_plan(tmp_path, text=text)
    values = {"training.lr": 0.05}
    trees = [
        plan.report_config(cell, {**values, **({"algorithm.alpha": 0.2} if cell.arm == "masked" else {})})
        for cell in plan.cells
    ]
    listing = list_configurations(plan, trees)
    assert listing.index == (0, 1, 1)
    assert len(listing.configurations) == 2


def test_sweep_of_the_file_has_the_configurations_in_order_with_each_seed(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    listing = list_configurations(plan, [tree for _, _, tree in plan.tuning_entries()])
    file = tmp_path / "small_tuning.py"
    write_space(file, "Small.", listing)
    request = SweepRequest(space=str(file), config={**listing.base, "seed": 100}, seeds=3)
    trials = plan_sweep(request).trials()
    assert [trial.values["seed"] for trial in trials[:3]] == [100, 101, 102]
    for trial in trials:
        assert trial.values.items() >= listing.configurations[trial.number // 3].items()


def test_file_that_exists_stays(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    listing = list_configurations(plan, [tree for _, _, tree in plan.tuning_entries()])
    file = tmp_path / "small_tuning.py"
    file.write_text("SPACE = [{}]\n")
    write_space(file, "Small.", listing)
    assert file.read_text() == "SPACE = [{}]\n"
