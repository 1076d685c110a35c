"""The config of a small experiment as a fixture."""

from pathlib import Path

import pytest

from tests.support.ray_runs import MakeConfig, config_maker


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A function that returns a small config with the given overrides; runs go to the test's folder."""
    return config_maker(tmp_path)
