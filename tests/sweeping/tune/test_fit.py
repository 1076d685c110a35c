"""What Tune finds around it: variables for as long as it runs, and a folder of its own."""

import os
from pathlib import Path

import pytest

from orchestrator.sweeping.tune.fit import _environment, _fresh_name


def test_variables_are_set_for_the_block_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSEFLEET_TEST_KEPT", "before")
    monkeypatch.delenv("SPARSEFLEET_TEST_NEW", raising=False)
    wanted = {"SPARSEFLEET_TEST_KEPT": "during", "SPARSEFLEET_TEST_NEW": "1"}
    with _environment(wanted):
        assert wanted.items() <= os.environ.items()
    assert os.environ["SPARSEFLEET_TEST_KEPT"] == "before"
    assert "SPARSEFLEET_TEST_NEW" not in os.environ


def test_each_pass_has_files_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "tune"
    names = []
    for _ in range(3):
        names.append(_fresh_name(folder))
        (folder / names[-1]).mkdir()
    assert len(set(names)) == 3
