"""Learning rates by torch's schedules and by users' functions, compared with formulas by hand."""

import pickle
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.training import TrainingConfig
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.own_parts.learning_rates import with_learning_rates


def rates(name: str, num_rounds: int = 6, **options: Any) -> list[float]:
    schedule = {"name": name, "options": options}
    training = TrainingConfig.model_validate({"rounds": num_rounds, "lr": 0.1, "lr_schedule": schedule})
    scheduled = with_learning_rates(training)
    return [scheduled.lr_at(round_idx) for round_idx in range(num_rounds)]


def test_schedules_of_torch() -> None:
    assert rates("StepLR", step_size=2, gamma=0.5) == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    assert rates("ExponentialLR", gamma=0.5) == pytest.approx([0.1 * 0.5**r for r in range(6)])
    expected = [0.05 * (1 + cos(pi * r / 5)) for r in range(6)]
    assert rates("CosineAnnealingLR", T_max=5) == pytest.approx(expected, abs=1e-12)
    assert rates("MultiStepLR", milestones=[1, 3], gamma=0.1) == pytest.approx(
        [0.1, 0.01, 0.01, 0.001, 0.001, 0.001]
    )


def step_rates(name: str, *task_steps: int, **options: Any) -> dict[int, list[float]]:
    schedule = {"name": name, "options": options, "per": "step"}
    training = TrainingConfig.model_validate({"rounds": 3, "lr": 0.1, "lr_schedule": schedule})
    scheduled = with_learning_rates(training, task_steps)
    assert [scheduled.lr_at(round_idx) for round_idx in range(3)] == [0.1, 0.1, 0.1]
    return {num_steps: list(scheduled.step_rates(num_steps)) for num_steps in task_steps}


def test_schedule_of_torch_over_the_steps_of_a_task() -> None:
    """A client with fewer steps takes the first rates."""
    found = step_rates("CosineAnnealingLR", 4, 7, T_max=6)
    expected = [0.05 * (1 + cos(pi * step / 6)) for step in range(7)]
    assert found[7] == pytest.approx(expected, abs=1e-12)
    assert found[4] == found[7][:4]


def test_function_of_a_user_over_the_steps_knows_the_steps_of_the_client(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def decay(step_idx, num_steps, lr):\n    return lr * (1 - step_idx / num_steps)\n")
    assert step_rates(f"{file}:decay", 2, 4) == {
        2: [0.1, 0.05],
        4: pytest.approx([0.1, 0.075, 0.05, 0.025]),
    }


def test_errors_name_the_step(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def negative(step_idx, num_steps, lr):\n    return 1 - step_idx\n")
    with pytest.raises(ConfigError, match="the learning rate of step 2 is -1"):
        step_rates(f"{file}:negative", 3)
    with pytest.raises(ConfigError, match="does not last 9 steps"):
        step_rates("OneCycleLR", 9, max_lr=1.0, total_steps=5, cycle_momentum=False)


def test_schedule_over_steps_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="one rate for a whole round"):
        ExperimentConfig.parse({"training": {"lr_schedule": {"per": "step"}}})


def test_more_rounds_keep_the_rates_of_the_first_rounds() -> None:
    assert rates("CosineAnnealingLR", 9, T_max=9)[:4] == rates("CosineAnnealingLR", 4, T_max=9)


def test_function_of_a_user(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def warm(round_idx, num_rounds, lr, first):\n    return lr * min(1, (round_idx + 1) / first)\n"
    )
    assert rates(f"{file}:warm", 4, first=2) == [0.05, 0.1, 0.1, 0.1]


def test_rates_are_sent_to_other_processes() -> None:
    section = {"rounds": 2, "lr_schedule": {"name": "ExponentialLR", "options": {"gamma": 0.5}}}
    scheduled = with_learning_rates(TrainingConfig.model_validate(section))
    assert pickle.loads(pickle.dumps(scheduled)).lr_at(1) == 0.025  # noqa: S301


def test_section_without_a_schedule_is_unchanged() -> None:
    training = TrainingConfig(lr=0.2, lr_decay=0.5)
    assert with_learning_rates(training) is training
    assert training.lr_at(2) == 0.05


@pytest.mark.parametrize(
    ("name", "options", "field", "problem"),
    [
        ("StepLr", {}, "training.lr_schedule.name", "no such schedule"),
        ("ReduceLROnPlateau", {}, "training.lr_schedule.name", "needs a score"),
        ("LambdaLR", {}, "training.lr_schedule.name", "needs a function"),
        ("SequentialLR", {}, "training.lr_schedule.name", "needs other schedulers"),
        ("StepLR", {}, "training.lr_schedule.options", "missing"),
        ("StepLR", {"size": 3}, "training.lr_schedule.options", "unexpected keyword"),
        ("OneCycleLR", {"max_lr": 0.2, "total_steps": 3}, "training.lr_schedule.options", "momentum"),
        (
            "OneCycleLR",
            {"max_lr": 0.2, "total_steps": 3, "cycle_momentum": False},
            "training.lr_schedule.options",
            "does not last 6 rounds",
        ),
        (
            "CosineAnnealingLR",
            {"T_max": 4, "last_epoch": 3},
            "training.lr_schedule.options.last_epoch",
            "first one",
        ),
        ("ExponentialLR", {"gamma": "a"}, "training.lr_schedule.options", "TypeError"),
        ("StepLR", {"step_size": 0}, "training.lr_schedule.options", "ZeroDivisionError"),
        ("ExponentialLR", {"gamma": -1}, "training.lr_schedule.options", "round 1 is -0.1"),
        ("math:pi", {}, "training.lr_schedule.name", "not a function"),
        ("math:sqrt", {}, "training.lr_schedule.name", "the function raised TypeError"),
    ],
)
def test_unusable_schedules_are_rejected(
    name: str, options: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        rates(name, **options)
    assert caught.value.field == field
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"lr_decay": 0.9, "lr_schedule": {"name": "StepLR"}}, "training.lr_decay"),
        ({"lr_schedule": {"options": {"gamma": 1}}}, "training.lr_schedule.options"),
    ],
)
def test_contradicting_keys_are_rejected(training: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExperimentConfig.parse({"training": training})
    assert caught.value.field == field
