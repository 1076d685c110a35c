"""The words of a command for a cluster: completed, or refused with a remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.arguments import ParsedCommand, completed, settings_of
from orchestrator.errors import ConfigError, RequestError


def _asked(command: str, *words: str, **options: Any) -> ParsedCommand:
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    return ParsedCommand(command, (command, *words), {"overrides": overrides, **options})


def _completed(asked: ParsedCommand, **config: Any) -> tuple[str, ...]:
    return completed(asked, {**config, **settings_of(asked, Path())})


def test_a_run_joins_the_cluster_unless_it_says_where() -> None:
    words: tuple[str, ...] = ("run", "runtime.storage=/shared/runs")
    assert _completed(_asked(*words)) == (*words, "runtime.address=auto")
    words = (*words, "runtime.address=10.0.0.1:6379")
    assert _completed(_asked(*words)) == words
    asked = _asked("resume", "/shared/runs/r", run="/shared/runs/r")
    assert _completed(asked)[-1] == "runtime.address=auto"


def test_a_sweep_that_goes_on_takes_no_keys() -> None:
    storage = Path("/shared")
    fresh, again = ("sweep", "smoke"), ("sweep", "smoke", "--resume")
    assert _completed(_asked(*fresh, storage=storage, space="smoke", resume=False)) == (
        *fresh,
        "runtime.address=auto",
    )
    assert _completed(_asked(*again, storage=storage, space="smoke", resume=True)) == again


def test_a_command_that_trains_nothing_is_left_as_it_is() -> None:
    assert _completed(_asked("list", "models")) == ("list", "models")
    assert _completed(_asked("doctor", storage=Path("runs"))) == ("doctor",)


@pytest.mark.parametrize(
    ("asked", "config", "told"),
    [
        (_asked("run"), {}, "runtime.storage=runs: "),
        (_asked("run", "runtime.storage=here"), {}, "runtime.storage=here: "),
        (_asked("run"), {"runtime.storage": "./r"}, "runtime.storage=./r: "),
        (_asked("sweep", "smoke", storage=Path("runs"), space="smoke"), {}, "--storage=runs: "),
        (
            _asked("sweep", "runtime.storage=r", storage=Path("/s"), space="smoke"),
            {},
            "runtime.storage=r: ",
        ),
        (_asked("sweep", "smoke", space="smoke"), {"runtime.storage": "f"}, "runtime.storage=f: "),
        (
            _asked("sweep", "smoke", storage=Path("r"), space="smoke"),
            {"runtime.storage": "/of/file"},
            "--storage=r: ",
        ),
        (_asked("sweep", "smoke", storage=None, space="smoke"), {}, "runtime.storage=runs: "),
        (_asked("sweep", "s", "--resume", storage=None, space="s", resume=True), {}, "--storage=runs: "),
        (_asked("sweep", "s", "--resume", storage=Path("r"), space="s", resume=True), {}, "--storage=r: "),
        (_asked("resume", "fedavg-1", run="fedavg-1", storage=Path("runs")), {}, "--storage=runs: "),
        (_asked("compare", "/s/a", "b", runs=["/s/a", "b"], storage=Path("runs")), {}, "--storage=runs: "),
        (_asked("demo", storage=Path("runs")), {}, "--storage=runs: "),
        (_asked("run", "runtime.storage=/s", summary=Path("out.json")), {}, "--summary=out.json: "),
        (_asked("compare", runs=["/s/a"], storage=Path("runs"), out=Path("page")), {}, "--out=page: "),
    ],
)
def test_results_that_would_go_with_the_job_are_refused(
    asked: ParsedCommand, config: Mapping[str, Any], told: str
) -> None:
    with pytest.raises(RequestError) as caught:
        _completed(asked, **config)
    assert str(caught.value).startswith(told + "a relative place lies in the job's own folder")
    assert "=/shared/" in caught.value.remedy


@pytest.mark.parametrize(
    "asked",
    [
        _asked("run", "runtime.storage=/shared/runs"),
        _asked("run", "runtime.storage=~/runs"),
        _asked("sweep", "smoke", space="smoke", storage=Path("/shared")),
        _asked("sweep", "/shared/s", "--resume", space="/shared/s", resume=True, storage=Path("runs")),
        _asked("compare", "/shared/a", runs=["/shared/a"], storage=Path("runs")),
        _asked("run", "runtime.storage=/shared/runs", summary=Path("/shared/result.json")),
    ],
)
def test_results_in_absolute_places_are_fine(asked: ParsedCommand) -> None:
    assert _completed(asked)[: len(asked.words)] == asked.words


def test_a_password_is_refused_and_not_repeated() -> None:
    asked = _asked("run", "runtime.storage=/s", "tracking.uri=https://me:secret@host:5000")
    with pytest.raises(RequestError) as caught:
        _completed(asked)
    assert str(caught.value).startswith("tracking.uri=https://***@host:5000: ")
    assert "secret" not in str(caught.value)
    assert "--env MLFLOW_TRACKING_USERNAME --env MLFLOW_TRACKING_PASSWORD" in caught.value.remedy


def test_a_password_in_the_config_file_or_in_an_option_is_refused_too() -> None:
    with pytest.raises(RequestError, match=r"^tracking\.uri=http://\*\*\*@h: "):
        _completed(_asked("run", "runtime.storage=/s"), **{"tracking.uri": "http://u:p@h"})
    with pytest.raises(RequestError, match=r"^COMMAND=http://\*\*\*@h: "):
        _completed(_asked("list", "fleets", "--address", "http://u:p@h"))


def test_an_address_without_a_password_is_fine() -> None:
    asked = _asked("run", "runtime.storage=/s", "tracking.uri=http://user@host:5000")
    assert _completed(asked)[-1] == "runtime.address=auto"


def test_settings_are_the_files_with_the_overrides_over_them(tmp_path: Path) -> None:
    (tmp_path / "e.yaml").write_text("training: {rounds: 3, lr: 0.1}\n")
    asked = _asked("run", "training.rounds=5", config=Path("e.yaml"))
    assert settings_of(asked, tmp_path) == {"training.rounds": 5, "training.lr": 0.1}
    asked = _asked("run", "training.rounds=5", config=tmp_path / "on-the-cluster.yaml")
    assert settings_of(asked, tmp_path) == {"training.rounds": 5}
    with pytest.raises(ConfigError, match="cannot be read"):
        settings_of(_asked("run", config=Path("no.yaml")), tmp_path)
