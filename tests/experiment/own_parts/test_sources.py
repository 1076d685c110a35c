"""Users' files that a config names, by label and key."""

from pathlib import Path

from orchestrator.config.overrides import flatten
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.own_parts.sources import FILE_KEYS, key_of, named_sources, sources_named


def test_every_label_belongs_to_a_key_of_the_config() -> None:
    assert set(FILE_KEYS.values()) <= flatten(ExperimentConfig().to_dict()).keys()
    assert key_of("data") == "data.name"
    assert key_of("algorithm-2") == "algorithm.name"
    assert key_of("space") == "SPACE"


def test_files_of_a_config_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import helper\n")
    (tmp_path / "helper.py").write_text("value = 1\n")
    config = ExperimentConfig.parse({"data": {"name": f"{tmp_path / 'mine.py'}:load"}})
    found = named_sources(config)
    assert list(found) == ["data"]
    assert set(found["data"].files) == {"mine.py", "helper.py"}


def test_names_without_a_file_have_no_sources(tmp_path: Path) -> None:
    assert sources_named("data", "digits") is None
    assert sources_named("model", "absent.py:build") is None
    assert sources_named("fleet", str(tmp_path / "absent.yaml")) is None
