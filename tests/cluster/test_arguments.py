"""The arguments of a command that runs on a cluster: completed, or rejected with a remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.arguments import ParsedCommand, command_settings, job_arguments
from orchestrator.errors import ConfigError, RequestError


def _parsed(command: str, *rest: str, **options: Any) -> ParsedCommand:
    overrides = [argument for argument in rest if "=" in argument and not argument.startswith("-")]
    return ParsedCommand(command, (command, *rest), {"overrides": overrides, **options})


def _job_arguments(parsed: ParsedCommand, **config: Any) -> tuple[str, ...]:
    return job_arguments(parsed, {**config, **command_settings(parsed, Path())})


def test_run_joins_the_cluster_unless_it_sets_an_address() -> None:
    arguments: tuple[str, ...] = ("run", "runtime.storage=/shared/runs")
    assert _job_arguments(_parsed(*arguments)) == (*arguments, "runtime.address=auto")
    arguments = (*arguments, "runtime.address=10.0.0.1:6379")
    assert _job_arguments(_parsed(*arguments)) == arguments
    resume = _parsed("resume", "/shared/runs/r", run="/shared/runs/r")
    assert _job_arguments(resume)[-1] == "runtime.address=auto"


def test_resumed_sweep_gets_no_further_keys() -> None:
    storage = Path("/shared")
    new, resumed = ("sweep", "smoke"), ("sweep", "smoke", "--resume")
    assert _job_arguments(_parsed(*new, storage=storage, space="smoke", resume=False)) == (
        *new,
        "runtime.address=auto",
    )
    assert _job_arguments(_parsed(*resumed, storage=storage, space="smoke", resume=True)) == resumed


def test_command_without_training_keeps_its_arguments() -> None:
    assert _job_arguments(_parsed("list", "models")) == ("list", "models")
    assert _job_arguments(_parsed("doctor", storage=Path("runs"))) == ("doctor",)


@pytest.mark.parametrize(
    ("parsed", "config", "field", "value"),
    [
        (_parsed("run"), {}, "runtime.storage", "runs"),
        (_parsed("run", "runtime.storage=here"), {}, "runtime.storage", "here"),
        (_parsed("run"), {"runtime.storage": "./r"}, "runtime.storage", "./r"),
        (_parsed("sweep", "smoke", storage=Path("runs"), space="smoke"), {}, "--storage", "runs"),
        (
            _parsed("sweep", "runtime.storage=r", storage=Path("/s"), space="smoke"),
            {},
            "runtime.storage",
            "r",
        ),
        (_parsed("sweep", "smoke", space="smoke"), {"runtime.storage": "f"}, "runtime.storage", "f"),
        (
            _parsed("sweep", "smoke", storage=Path("r"), space="smoke"),
            {"runtime.storage": "/of/file"},
            "--storage",
            "r",
        ),
        (_parsed("sweep", "smoke", storage=None, space="smoke"), {}, "runtime.storage", "runs"),
        (_parsed("sweep", "s", "--resume", storage=None, space="s", resume=True), {}, "--storage", "runs"),
        (_parsed("sweep", "s", "--resume", storage=Path("r"), space="s", resume=True), {}, "--storage", "r"),
        (_parsed("resume", "fedavg-1", run="fedavg-1", storage=Path("runs")), {}, "--storage", "runs"),
        (_parsed("compare", "/s/a", "b", runs=["/s/a", "b"], storage=Path("runs")), {}, "--storage", "runs"),
        (_parsed("demo", storage=Path("runs")), {}, "--storage", "runs"),
        (_parsed("compare", runs=["a", "runtime.storage=r"], storage=None), {}, "--storage", "r"),
        (_parsed("retime", run="a", storage=None), {"runtime.storage": "f"}, "--storage", "f"),
        (_parsed("run", "runtime.storage=/s", summary=Path("out.json")), {}, "--summary", "out.json"),
        (_parsed("compare", runs=["/s/a"], storage=Path("runs"), out=Path("page")), {}, "--out", "page"),
    ],
)
def test_results_in_a_relative_folder_are_rejected(
    parsed: ParsedCommand, config: Mapping[str, Any], field: str, value: str
) -> None:
    with pytest.raises(RequestError) as caught:
        _job_arguments(parsed, **config)
    assert (caught.value.field, caught.value.value) == (field, value)
    assert f"{field}=/shared/{value}" in caught.value.remedy


@pytest.mark.parametrize(
    "parsed",
    [
        _parsed("run", "runtime.storage=/shared/runs"),
        _parsed("run", "runtime.storage=~/runs"),
        _parsed("sweep", "smoke", space="smoke", storage=Path("/shared")),
        _parsed("sweep", "/shared/s", "--resume", space="/shared/s", resume=True, storage=Path("runs")),
        _parsed("compare", "/shared/a", runs=["/shared/a"], storage=Path("runs")),
        _parsed("compare", runs=["a", "runtime.storage=/s"], storage=None),
        _parsed("resume", "runtime.storage=/s", run="a", storage=Path("r")),
        _parsed("run", "runtime.storage=/shared/runs", summary=Path("/shared/result.json")),
    ],
)
def test_results_in_an_absolute_folder_are_accepted(parsed: ParsedCommand) -> None:
    assert _job_arguments(parsed)[: len(parsed.arguments)] == parsed.arguments


def test_password_in_an_override_is_rejected_and_not_repeated() -> None:
    parsed = _parsed("run", "runtime.storage=/s", "tracking.uri=https://me:secret@host:5000")
    with pytest.raises(RequestError) as caught:
        _job_arguments(parsed)
    assert (caught.value.field, caught.value.value) == ("tracking.uri", "https://***@host:5000")
    assert "secret" not in str(caught.value)
    assert "--env-file" in caught.value.remedy


@pytest.mark.parametrize(
    ("parsed", "config", "field"),
    [
        (_parsed("run", "runtime.storage=/s"), {"tracking.uri": "http://u:p@h"}, "tracking.uri"),
        (_parsed("list", "fleets", "--address", "http://u:p@h"), {}, "COMMAND"),
    ],
)
def test_password_in_the_config_file_or_in_an_option_is_rejected(
    parsed: ParsedCommand, config: Mapping[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        _job_arguments(parsed, **config)
    assert (caught.value.field, caught.value.value) == (field, "http://***@h")


def test_user_name_without_a_password_is_accepted() -> None:
    parsed = _parsed("run", "runtime.storage=/s", "tracking.uri=http://user@host:5000")
    assert _job_arguments(parsed)[-1] == "runtime.address=auto"


def test_overrides_take_precedence_over_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("training: {rounds: 3, lr: 0.1}\n")
    parsed = _parsed("run", "training.rounds=5", config=["e.yaml"])
    assert command_settings(parsed, tmp_path) == {"training.rounds": 5, "training.lr": 0.1}


def test_later_config_files_and_presets_take_precedence(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("training: {rounds: 3}\n")
    settings = command_settings(_parsed("run", config=["preset:feddst-mnist-code", "e.yaml"]), tmp_path)
    assert (settings["training.rounds"], settings["training.lr"]) == (3, 0.01)


def test_summary_on_standard_output_is_in_the_jobs_log() -> None:
    arguments = ("run", "runtime.storage=/s", "--summary", "-")
    assert _job_arguments(_parsed(*arguments, summary=Path("-")))[:-1] == arguments


def test_config_file_of_the_cluster_adds_no_settings(tmp_path: Path) -> None:
    parsed = _parsed("run", "training.rounds=5", config=[str(tmp_path / "on-the-cluster.yaml")])
    assert command_settings(parsed, tmp_path) == {"training.rounds": 5}


def test_missing_relative_config_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        command_settings(_parsed("run", config=["no.yaml"]), tmp_path)
    assert str(caught.value.value).endswith("no.yaml")
