"""The presets: complete, valid, with the source of every value, and packed into the wheel."""

import os
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from orchestrator.config.overrides import flatten, read_configs
from orchestrator.config.presets import preset_names, preset_path, preset_summary
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.loading import load_config
from orchestrator.experiment.prepare import prepare

ROOT = Path(__file__).parents[2]
#: values of the specifications of the public codes, by preset
PUBLISHED = {
    "feddst-mnist-code": {"fleet.num_clients": 400, "training.lr": 0.01, "sparsity.level": 0.8},
    "feddst-cifar10-code": {"algorithm.alpha": 0.01, "algorithm.readjust_every": 15, "training.rounds": 400},
    "feddst-cifar100-code": {"data.partition.alpha": 0.1, "sparsity.level": 0.5, "training.momentum": 0.9},
    "fedspa-cifar10-dispfl": {"training.batch_size": 128, "training.rounds": 500, "training.clip_norm": 10.0},
    "ssfl-cifar10-code": {"training.batch_size": 16, "training.local_epochs": 5, "training.rounds": 999},
    "ssfl-cifar100-code": {"training.batch_size": 128, "training.local_epochs": 10, "training.momentum": 0.9},
    "fedlps-mnist-code": {
        "fleet.num_clients": 100,
        "training.batch_size": 32,
        "training.weight_decay": 1.2e-6,
    },
    "fedlps-cifar10-code": {"fleet.num_clients": 50, "training.batch_size": 20, "model.name": "vgg11"},
}


def _text(name: str) -> str:
    path = preset_path(f"preset:{name}")
    assert path is not None
    return path.read_text()


def test_every_main_method_has_a_preset() -> None:
    methods = {load_config([f"preset:{name}"], []).algorithm.name for name in preset_names()}
    assert methods == {"feddst", "fedspa", "ssfl", "fedlps_as_coded"}
    assert preset_names() == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_preset_has_the_published_values(name: str) -> None:
    values = flatten(load_config([f"preset:{name}"], []).to_dict())
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_value_of_a_preset_has_its_source(name: str) -> None:
    lines = _text(name).splitlines()
    assert any(line.startswith("# Source: ") for line in lines)
    assert any("our own choice" in line.lower() for line in lines)
    values = [line for line in lines if re.match(r" *[a-z_]+: +[^ #]", line)]
    assert len(values) > 15
    unexplained = [line for line in values if "#" not in line]
    assert [line.strip() for line in unexplained if not re.match(r" +(name|variant): ", line)] == []
    assert preset_summary(name) == lines[0].removeprefix("# ")


@pytest.mark.parametrize("method", ["fedlps", "fedlps_as_coded"])
def test_presets_of_fedlps_apply_to_both_methods(method: str) -> None:
    config = load_config(["preset:fedlps-mnist-code"], [f"algorithm.name={method}"])
    assert (config.algorithm.name, config.training.lr) == (method, 0.1)


def test_unknown_preset_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        preset_path("preset:feddst-cifar10")
    assert (caught.value.field, caught.value.value) == ("--config", "preset:feddst-cifar10")
    assert caught.value.remedy == "did you mean 'feddst-cifar10-code'?"
    assert preset_path("feddst.yaml") is None


def test_file_after_a_preset_takes_precedence(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("training: {rounds: 3}\nruntime: {executor: inprocess}\n")
    tree = read_configs(["preset:ssfl-cifar10-code", "mine.yaml"], tmp_path)
    config = ExperimentConfig.parse(tree)
    assert (config.training.rounds, config.training.batch_size) == (3, 16)
    assert config.runtime.executor == "inprocess"


def test_presets_are_packed_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["orchestrator"]
    for name in preset_names():
        path = preset_path(f"preset:{name}")
        assert path is not None
        assert any(fnmatch(str(path.relative_to(ROOT / "orchestrator")), pattern) for pattern in patterns)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        # two shards for each client, without the validation part
        ("feddst-mnist-code", {40}),
        ("feddst-cifar10-code", {40}),
        ("fedlps-mnist-code", {180}),
        ("fedlps-cifar10-code", {180}),
        # 50,000 images over 100 clients
        ("fedspa-cifar10-dispfl", {500}),
        ("ssfl-cifar10-code", {500}),
    ],
)
def test_preset_can_run_on_the_real_data(name: str, sizes: set[int]) -> None:
    """CIFAR-10 is read from Parquet files here."""
    folder = os.environ.get("SPARSEFLEET_TEST_DATA")
    if folder is None:
        pytest.skip("SPARSEFLEET_TEST_DATA names no folder with real data")
    data = [f"data.root={folder}"]
    if "cifar10" in name:
        data = ["data.name=parquet", f"data.root={folder}/cifar10"]
    experiment = prepare(load_config([f"preset:{name}"], data))
    assert {len(samples) for samples in experiment.partition.train} == sizes
