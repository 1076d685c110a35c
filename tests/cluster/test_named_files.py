"""Which of the user's files a command names, and which of them must not be uploaded."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.named_files import named_files
from orchestrator.errors import RequestError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder with plug-ins, a config file and a fleet with a trace."""
    folder = tmp_path / "home"
    for file in ("method.py", "models/net.py", "unused.py", "who.csv", "fleets/who.csv", "space.py"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
    (folder / "fleets" / "street.yaml").write_text("trace: who.csv\nprofiles: [{name: phone}]\n")
    (folder / "e.yaml").write_text("algorithm: {name: 'method.py:Mine'}\nfleet: {name: fleets/street.yaml}\n")
    (tmp_path / "outside.py").write_text("")
    return folder


def _named(home: Path, settings: dict[str, Any], **options: Any) -> list[str]:
    return [str(path) for path in named_files(ParsedCommand("run", ("run",), options), settings, home)]


def test_registry_names_are_not_files(home: Path) -> None:
    settings = {"algorithm.name": "fedavg", "training.rounds": 3, "model.init": None, "training.lr": 0.1}
    assert _named(home, settings) == []


def test_plugins_and_options_name_files(home: Path) -> None:
    settings = {"algorithm.name": "method.py:Mine", "model.name": "models/net.py:build"}
    assert _named(home, settings, space="space.py") == ["method.py", "models/net.py", "space.py"]


def test_list_of_methods_may_contain_a_file(home: Path) -> None:
    assert _named(home, {"algorithm.name": ["fedavg", "method.py:Mine"]}) == ["method.py"]


def test_files_that_a_config_file_names_are_found(home: Path) -> None:
    """Paths in a YAML file are relative to the current folder or to the YAML file's folder."""
    found = _named(home, {}, config=Path("e.yaml"))
    assert found == ["e.yaml", "fleets/street.yaml", "fleets/who.csv", "method.py", "who.csv"]


def test_absolute_paths_are_left_to_the_cluster(home: Path) -> None:
    assert _named(home, {"algorithm.name": f"{home}/method.py:Mine", "data.root": "/data"}) == []


@pytest.mark.parametrize(("field", "value"), [("algorithm.name", "../outside.py:M"), ("data.root", "models")])
def test_file_outside_and_folder_of_data_are_rejected(home: Path, field: str, value: str) -> None:
    with pytest.raises(RequestError) as caught:
        _named(home, {field: value})
    assert (caught.value.field, caught.value.value) == (field, value)
    assert "--working-dir" in caught.value.remedy


def test_yaml_file_that_names_itself_or_is_damaged_is_found_once(home: Path) -> None:
    (home / "loop.yaml").write_text("again: loop.yaml\n")
    (home / "broken.yaml").write_text("a: [\n")
    assert _named(home, {"x": "broken.yaml"}, config="loop.yaml") == ["broken.yaml", "loop.yaml"]
