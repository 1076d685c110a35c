"""The command line as a whole: version, help, wrong arguments and errors of every command."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_command

import orchestrator
from orchestrator.cli.main import app
from tests.support.command import Command

COMMANDS = sorted(command.name or "" for command in app.registered_commands)


def test_version_is_the_version_of_the_distribution(command: Command) -> None:
    result = command("--version")
    assert (result.code, result.out, result.err) == (0, f"sparsefleet {version('sparsefleet')}\n", "")
    assert orchestrator.__version__ == version("sparsefleet")


def test_no_command_prints_the_help(command: Command) -> None:
    result = command()
    assert "Usage: sparsefleet" in result.out + result.err
    assert "error:" not in result.err
    assert result.code in (0, 2)


def test_help_lists_every_command(command: Command) -> None:
    result = command("--help")
    assert (result.code, result.err) == (0, "")
    assert "Usage: sparsefleet" in result.out
    for name in COMMANDS:
        assert re.search(rf"^\W*{name} ", result.out, re.MULTILINE), name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_has_examples(name: str, command: Command) -> None:
    result = command(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert f"Usage: sparsefleet {name}" in result.out
    _, _, examples = result.out.partition("Examples:")
    assert len(re.findall(rf"^ +sparsefleet {name}\b", examples, re.MULTILINE)) >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_description(name: str) -> None:
    parameters = get_command(app).commands[name].params  # type: ignore[attr-defined]
    assert not [parameter.name for parameter in parameters if not parameter.help]


@pytest.mark.parametrize(
    ("arguments", "token"),
    [
        ("bogus", "bogus"),
        ("run --bogus", "--bogus"),
        ("run -c", "-c"),
        ("list", "WHAT"),
        ("list algorithms models", "models"),
        ("resume", "RUN"),
        ("ui --port 0", "--port"),
        ("ui --port http", "--port"),
        ("--bogus run", "--bogus"),
    ],
)
def test_wrong_arguments_are_a_usage_error(arguments: str, token: str, command: Command) -> None:
    result = command(*arguments.split())
    assert result.code == 2
    assert token in result.err
    assert "error: unexpected" not in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("arguments", "tokens"),
    [
        (
            "list planets",
            ("WHAT=planets: ", "algorithms, models, datasets, fleets, spaces, presets, studies, keys"),
        ),
        ("partition data.partition.kind=natural", ("data.partition.kind=natural: ", "client ids")),
        ("partition trainin.lr=1", ("trainin=", "training")),
        ("partition -c /no/such.yaml", ("--config=/no/such.yaml: ",)),
        ("resume nothing --storage {tmp}/none", ("RUN=nothing: ", "{tmp}/none")),
        ("resume {tmp}", ("RUN={tmp}: ",)),
        ("ui --storage {tmp}", ("--storage={tmp}: ",)),
    ],
)
def test_every_command_reports_an_invalid_request_in_one_line(
    arguments: str, tokens: tuple[str, ...], command: Command, tmp_path: Path
) -> None:
    result = command(*arguments.replace("{tmp}", str(tmp_path)).split())
    assert (result.code, result.out) == (2, "")
    assert all(token.replace("{tmp}", str(tmp_path)) in result.error_line for token in tokens)
