"""The schema of study files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.studies.schema import LOGGED, VALIDATION, ScaleConfig
from orchestrator.tracking.record import METRICS
from tests.support.studies import SMALL, parsed


def test_metrics_are_logged_by_runs() -> None:
    assert {*LOGGED.values(), *VALIDATION.values()} <= METRICS.keys()


def test_cap_is_a_number_of_bytes() -> None:
    assert ScaleConfig(upload_cap="1.2GB").cap_bytes == 1.2e9
    assert ScaleConfig().cap_bytes is None
    with pytest.raises(ValidationError):
        ScaleConfig(upload_cap="0B")


def test_setting_may_name_its_arms_and_scales(tmp_path: Path) -> None:
    text = SMALL.replace("    tuned_by: accuracy\n", "    tuned_by: accuracy\n    arms: [masked, dense]\n")
    study = parsed(tmp_path, text.replace("    tuned_with: masked\n", ""))
    assert study.arms_in("digits") == ("masked", "dense")
    assert study.settings_at("quick") == ("digits",)
    assert parsed(tmp_path).arms_in("digits") == ("dense", "masked", "frozen")


def test_ablation_needs_its_tuned_arm_in_every_setting(tmp_path: Path) -> None:
    text = SMALL.replace("    tuned_by: accuracy\n", "    tuned_by: accuracy\n    arms: [frozen, dense]\n")
    with pytest.raises(ValueError, match="does not run in the setting digits"):
        parsed(tmp_path, text)
