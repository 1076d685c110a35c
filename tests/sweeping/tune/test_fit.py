"""The environment variables and the folder name of a Tune pass."""

import os
from pathlib import Path

import pytest

from orchestrator.sweeping.tune.fit import _environment_variables, _unused_name


def test_environment_variables_are_set_in_the_block_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEFLEET_TEST_KEPT", "before")
    monkeypatch.delenv("SPARSEFLEET_TEST_NEW", raising=False)
    wanted = {"SPARSEFLEET_TEST_KEPT": "during", "SPARSEFLEET_TEST_NEW": "1"}
    with _environment_variables(wanted):
        assert wanted.items() <= os.environ.items()
    assert os.environ["SPARSEFLEET_TEST_KEPT"] == "before"
    assert "SPARSEFLEET_TEST_NEW" not in os.environ


def test_every_pass_gets_an_unused_name(tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    names = []
    for _ in range(3):
        names.append(_unused_name(folder))
        (folder / names[-1]).mkdir()
    assert len(set(names)) == 3
