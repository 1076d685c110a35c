"""The commands `init`, which writes a new project, and `schema`, which writes the JSON Schema of the config."""

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import STDOUT
from orchestrator.commands import command_line
from orchestrator.errors import RequestError

INIT_HELP = """
Write a small project to a folder: a commented config, a method with its test, a search space, a fleet, a notebook, \
and the JSON Schema with which editors complete the config. The command replaces no file.

Examples:

  sparsefleet init

  sparsefleet init my-experiments
"""

SCHEMA_HELP = """
Write the JSON Schema of the config, with which editors complete and check YAML files.

An editor with the YAML language server uses the schema that the first line of a file names: \
`# yaml-language-server: $schema=./sparsefleet.schema.json`.

Examples:

  sparsefleet schema

  sparsefleet schema --out sparsefleet.schema.json
"""

SCHEMA_FILE = "sparsefleet.schema.json"
#: the files of a new project; the sources have the suffix .txt, because they are no modules of this package
_TEMPLATES = Path(__file__).parents[1] / "templates"


def init_command(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder of the project. If not given: the current folder.")
    ] = Path(),
) -> None:
    """Implement `sparsefleet init`; INIT_HELP is its help text."""
    files = write_project(folder)
    print(f"{folder.resolve()}: {', '.join(files)}")
    if folder.resolve() != Path.cwd():
        print(f"next: cd {folder}")
    print(f"next: {command_line('run', '-c', 'config.yaml')}")


def schema_command(
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Write the schema to this file; - is standard output.")
    ] = STDOUT,
) -> None:
    """Implement `sparsefleet schema`; SCHEMA_HELP is its help text."""
    if out == STDOUT:
        print(_schema_text(), end="")
    else:
        out.write_text(_schema_text(), encoding="utf-8")
        print(f"write this line at the top of a config: # yaml-language-server: $schema={out}")


def write_project(folder: Path) -> list[str]:
    """Write the files of a new project, and return their names. Raises RequestError when one of them exists."""
    contents = {
        path.name.removesuffix(".txt"): path.read_text(encoding="utf-8")
        for path in sorted(_TEMPLATES.iterdir())
    }
    contents[SCHEMA_FILE] = _schema_text()
    for name in contents:
        if (folder / name).exists():
            problem = "the file exists already, and init replaces no file"
            raise RequestError("DIR", folder / name, problem, "name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(contents)


def _schema_text() -> str:
    from orchestrator.experiment.schema import config_schema

    return json.dumps(config_schema(), indent=1) + "\n"
