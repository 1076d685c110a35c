"""`init` writes a project in which every file works; `schema` writes the JSON Schema."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from orchestrator.cli.project import SCHEMA_FILE
from orchestrator.config.overrides import read_yaml
from orchestrator.experiment.schema import config_schema
from orchestrator.fleet.registry import get_fleet
from orchestrator.plugins.loading import load_object
from orchestrator.sweeping.plan import plan_sweep
from orchestrator.sweeping.request import SweepRequest
from tests.support.command import Command

FILES = {
    "README.md",
    "config.yaml",
    "first_run.ipynb",
    "my_fleet.yaml",
    "my_method.py",
    "my_space.py",
    SCHEMA_FILE,
    "test_my_method.py",
}


@pytest.fixture
def project(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a new project, as the current folder; its config trains one round in this process."""
    monkeypatch.chdir(tmp_path)
    result = command("init", "mine")
    assert result.code == 0, result.err
    folder = tmp_path / "mine"
    monkeypatch.chdir(folder)
    config = folder / "config.yaml"
    text = config.read_text().replace("executor: ray", "executor: inprocess")
    text = text.replace("enabled: true", "enabled: false").replace("rounds: 20", "rounds: 1")
    config.write_text(text)
    return folder


def test_project_has_these_files(project: Path) -> None:
    assert {path.name for path in project.iterdir()} == FILES
    named = set(re.findall(r"^\| `([^`]+)` \|", (project / "README.md").read_text(), re.MULTILINE))
    assert named == FILES - {"README.md", SCHEMA_FILE}


def test_config_names_its_schema_and_satisfies_it(project: Path) -> None:
    first, *_ = (project / "config.yaml").read_text().splitlines()
    assert first == f"# yaml-language-server: $schema=./{SCHEMA_FILE}"
    schema = json.loads((project / SCHEMA_FILE).read_text())
    assert schema == config_schema()
    Draft202012Validator(schema).validate(yaml.safe_load((project / "config.yaml").read_text()))


def test_run_of_the_config_uses_the_method_and_the_fleet(project: Path, command: Command) -> None:
    result = command("run", "-c", "config.yaml", "--summary", "s.json")
    assert result.code == 0, result.err
    summary = json.loads((project / "s.json").read_text())
    assert summary["algorithm"] == "my_method.py:MyMethod"
    assert summary["upload_bytes_total"] < 0.5 * summary["download_bytes_total"], "uploads are sparse"
    assert [profile.name for profile in get_fleet("my_fleet.yaml").profiles] == ["phone", "laptop"]


def test_test_of_the_method_passes(project: Path) -> None:
    test: Any = load_object(f"{project / 'test_my_method.py'}:test_my_method_follows_the_contract", "TEST")
    test()


def test_space_varies_the_option_of_the_method(project: Path) -> None:
    plan = plan_sweep(SweepRequest(space="my_space.py", config=read_yaml(Path("config.yaml"))))
    assert {trial.values["algorithm.density"] for trial in plan.trials()} == {0.1, 0.2, 0.5}
    plan_sweep(SweepRequest(space="my_space.py", config=read_yaml(Path("config.yaml")), scheduler="pbt"))


def test_cells_of_the_notebook_run(project: Path) -> None:
    notebook = json.loads((project / "first_run.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "cell", "exec"), names)
    assert len(names["both"].rows) == 2
    assert names["result"].num_rounds == 1


def test_init_replaces_no_file(project: Path, command: Command) -> None:
    (project / "my_space.py").write_text("mine")
    result = command("init")
    assert result.code == 2
    assert result.error_line.startswith("error: DIR=")
    assert (project / "my_space.py").read_text() == "mine"


def test_schema_goes_to_standard_output_or_to_a_file(command: Command, tmp_path: Path) -> None:
    assert json.loads(command("schema").out) == config_schema()
    result = command("schema", "--out", tmp_path / "s.json")
    assert f"$schema={tmp_path / 's.json'}" in result.out
    assert json.loads((tmp_path / "s.json").read_text()) == config_schema()
