"""Directives that write the reference from the code: public names, the command line, config keys."""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from inspect import isclass, isroutine
from types import GenericAlias
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class PublicNames(SphinxDirective):
    """`.. public-names:: MODULE`: every name in the module's `__all__`, with its docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The module's own docstring is not shown; the page introduces it."""
        module = self.arguments[0]
        if find_spec(module) is None:
            return self.parse_text_to_nodes(f"This version has no module ``{module}``.")
        names = import_module(module)
        text = [_entry(f"{module}.{name}", getattr(names, name)) for name in names.__all__]
        return self.parse_text_to_nodes("\n".join(text))


def _entry(name: str, value: object) -> str:
    """The directive that documents a public name. A constant or type alias shows its value."""
    is_class = isclass(value) and not isinstance(value, GenericAlias)
    if not is_class and not isroutine(value):
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        return f".. py:data:: {name}\n\n   ``{shown}``\n"
    return f".. {_directive(value)}:: {name}{_options(value)}\n"


def _directive(value: object) -> str:
    if isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction"


def _options(value: object) -> str:
    return (
        "\n   :members:\n   :exclude-members: model_config\n   :show-inheritance:" if isclass(value) else ""
    )


class CommandLine(SphinxDirective):
    """`.. command-line::`: every command with its help, arguments and options."""

    def run(self) -> list[nodes.Node]:
        """One section for each command, in the order of `sparsefleet --help`."""
        from orchestrator.cli.main import app

        group = typer.main.get_group(app)
        return [self._section(name, command) for name, command in group.commands.items()]

    def _section(self, name: str, command: Any) -> nodes.section:
        section = nodes.section(ids=[f"sparsefleet-{name}"], names=[name])
        section += nodes.title("", f"sparsefleet {name}")
        description, *examples = re.split(r"\bExamples?:", command.help or "", maxsplit=1)
        section += [_paragraph(text) for text in description.split("\n\n") if text.strip()]
        if examples:
            lines = "\n".join(line.strip() for line in examples[0].splitlines() if line.strip())
            section += nodes.literal_block(lines, lines, language="sh")
        section += _table(("argument or option", "meaning"), (40, 60), _parameters(command))
        return section


def _parameters(command: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        text = str(getattr(parameter, "help", None) or "")
        if parameter.param_type_name == "argument":
            yield parameter.metavar or parameter.name.upper(), text
        else:
            yield ", ".join([*parameter.opts, *parameter.secondary_opts]), text


class ConfigKeys(SphinxDirective):
    """`.. config-keys::`: every key of the config tree with its default and its meaning."""

    def run(self) -> list[nodes.Node]:
        """The keys of methods are in the catalogue of algorithms."""
        from orchestrator.config.errors import dotted_keys
        from orchestrator.experiment.config import ExperimentConfig

        keys = dotted_keys(ExperimentConfig).items()
        rows = ((key, f"{default!r}", description) for key, (description, default) in keys)
        return [_table(("key", "default", "meaning"), (30, 20, 50), rows, code=2)]


def _table(
    heads: tuple[str, ...], widths: tuple[int, ...], rows: Iterator[tuple[str, ...]], code: int = 1
) -> nodes.table:
    """A table whose first `code` columns are set as code."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(heads))
    group += nodes.thead("", _row(_paragraph(head) for head in heads))
    cells = ([f"`{text}`" if i < code else text for i, text in enumerate(row)] for row in rows)
    group += nodes.tbody("", *(_row(map(_paragraph, row)) for row in cells))
    return nodes.table("", group)


def _row(paragraphs: Iterable[nodes.paragraph]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", paragraph) for paragraph in paragraphs))


def _paragraph(text: str) -> nodes.paragraph:
    """What stands between backquotes becomes code."""
    parts = [(part, i % 2 == 1) for i, part in enumerate(text.split("`"))]
    return nodes.paragraph(
        "", "", *(nodes.literal(p, p) if code else nodes.Text(p) for p, code in parts if p)
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("command-line", CommandLine)
    app.add_directive("config-keys", ConfigKeys)
    return {"parallel_read_safe": True}
