"""The version is that of the installed distribution."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

import orchestrator


def test_version_is_that_of_pyproject() -> None:
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert orchestrator.__version__ == pyproject["project"]["version"]


def test_version_is_0_if_the_distribution_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_installed(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("orchestrator.version.version", not_installed)
    assert orchestrator.__version__ == "0"
