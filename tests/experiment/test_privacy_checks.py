"""Options that differential privacy excludes; every remedy works."""

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig

PRIVATE = ("privacy.clip_norm=1", "privacy.noise_multiplier=1")


def _config(*words: str) -> ExperimentConfig:
    return ExperimentConfig.parse(apply_overrides({}, list(words)))


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("aggregation.rule=median", "aggregation.rule=mean"),
        ("asynchrony.kind=fedbuff", "asynchrony.kind=none"),
        ("selection.kind=samples", "selection.kind=uniform"),
        ("selection.kind=power_of_choice", "selection.kind=uniform"),
        ("training.with_replacement=true", "training.with_replacement=false"),
        ("fleet.deadline_s=5", None),
        ("fleet.over_selection=1.5", "fleet.over_selection=1.0"),
        ("runtime.failure_policy=drop", "runtime.failure_policy=retry"),
        ("wire.value_dtype=float16", "wire.value_dtype=float32"),
    ],
)
def test_option_without_a_known_guarantee_is_rejected(word: str, remedy: str | None) -> None:
    with pytest.raises(ConfigError, match=r"with privacy\.noise_multiplier") as caught:
        _config(*PRIVATE, word)
    assert caught.value.field == word.partition("=")[0]
    if remedy is None:
        assert "leave it unset" in caught.value.remedy
    else:
        assert f"use {remedy.partition('=')[2]}," in caught.value.remedy
        assert _config(*PRIVATE, remedy).privacy.has_noise
    assert not _config(word, "privacy.clip_norm=1").privacy.has_noise


def test_noise_needs_a_clip() -> None:
    with pytest.raises(ConfigError, match=r"set privacy\.clip_norm"):
        _config("privacy.noise_multiplier=1")


def test_delta_needs_noise() -> None:
    with pytest.raises(ConfigError, match="no epsilon is computed"):
        _config("privacy.delta=1e-6")
    assert _config(*PRIVATE, "privacy.delta=1e-6").privacy.delta == 1e-6


@pytest.mark.parametrize(
    "word", ["privacy.clip_norm=0", "privacy.noise_multiplier=-1", "privacy.delta=0", "privacy.delta=1"]
)
def test_values_out_of_range_are_rejected(word: str) -> None:
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        _config(*PRIVATE, word)
