"""config.yaml and run.json: what is written is read back, and unreadable files are rejected."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config.formats import CONFIG_FORMATS
from orchestrator.errors import CheckpointError
from orchestrator.storage.run_description import read_about, read_config, write_description


def test_description_is_read_back(tmp_path: Path) -> None:
    about: dict[str, Any] = {"run_id": "some-run", "fingerprint": {"data": "ab"}, "git_commit": None}
    about["format"] = CONFIG_FORMATS.latest
    config = {"seed": 3, "tracking": {"experiment": "näme: x"}}
    write_description(tmp_path, config, about)
    assert (read_about(tmp_path), read_config(tmp_path)) == (about, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text(encoding="utf-8")) == config
    write_description(tmp_path, {"seed": 4}, about)
    assert read_config(tmp_path) == {"seed": 4}


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[" * 100_000])
def test_unreadable_run_json_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        read_about(tmp_path)


@pytest.mark.parametrize("content", [None, b"[" * 1000, b"a: &a [*a]", b"{a: 1, a: 2}", b"\xff", b"\0"])
def test_unreadable_config_is_rejected(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        read_config(tmp_path)


@pytest.mark.parametrize("content", ["[]", "3", "null"])
def test_files_without_a_mapping_are_rejected(tmp_path: Path, content: str) -> None:
    for name in ("config.yaml", "run.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"run\.json"):
        read_about(tmp_path)


@pytest.mark.parametrize("key", ["tags", "packages"])
def test_run_json_with_a_key_of_another_type_is_rejected(tmp_path: Path, key: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({key: [1]}))
    with pytest.raises(CheckpointError, match=rf"run\.json: {key} "):
        read_about(tmp_path)
