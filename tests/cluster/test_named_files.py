"""Which of the user's files a command names, and which must not travel."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.arguments import ParsedCommand
from orchestrator.cluster.named_files import named_files
from orchestrator.errors import RequestError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's folder."""
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


def test_nothing_is_named_by_names_of_the_registry(home: Path) -> None:
    settings = {"algorithm.name": "fedavg", "training.rounds": 3, "model.init": None, "training.lr": 0.1}
    assert _named(home, settings) == []


def test_plugins_spaces_and_options_are_files(home: Path) -> None:
    settings = {"algorithm.name": "method.py:Mine", "model.name": "models/net.py:build"}
    assert _named(home, settings, space="space.py") == ["method.py", "models/net.py", "space.py"]


def test_one_of_several_methods_of_a_sweep_may_be_a_file(home: Path) -> None:
    assert _named(home, {"algorithm.name": ["fedavg", "method.py:Mine"]}) == ["method.py"]


def test_a_config_file_brings_what_it_names(home: Path) -> None:
    """Its own names are meant in the present folder; a fleet's trace may lie beside it."""
    found = _named(home, {}, config=Path("e.yaml"))
    assert found == ["e.yaml", "fleets/street.yaml", "fleets/who.csv", "method.py", "who.csv"]


def test_absolute_paths_are_the_clusters_own(home: Path) -> None:
    assert _named(home, {"algorithm.name": f"{home}/method.py:Mine", "data.root": "/data"}) == []


def test_a_file_outside_is_refused(home: Path) -> None:
    with pytest.raises(
        RequestError, match=r"^algorithm\.name=\.\./outside\.py:M: it lies outside of .*--working-dir"
    ):
        _named(home, {"algorithm.name": "../outside.py:M"})


def test_a_folder_of_data_is_refused(home: Path) -> None:
    with pytest.raises(RequestError, match=r"^data\.root=models: a folder of data does not travel"):
        _named(home, {"data.root": "models"})


def test_yaml_that_names_itself_or_is_none_ends(home: Path) -> None:
    (home / "loop.yaml").write_text("again: loop.yaml\n")
    (home / "broken.yaml").write_text("a: [\n")
    assert _named(home, {"x": "broken.yaml"}, config="loop.yaml") == ["broken.yaml", "loop.yaml"]
