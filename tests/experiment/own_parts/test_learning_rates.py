"""Learning rates by torch's schedules and by users' functions, compared with formulas by hand."""

import pickle
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.sections import TrainingConfig
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
