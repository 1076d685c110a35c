"""Reads docstrings as plain text with code in single backquotes: nothing else in them is markup."""

import re
from inspect import isclass
from textwrap import indent

from pydantic import BaseModel
from sphinx.application import Sphinx

_SPAN = re.compile(r"(``[^`]*``|`[^`]*`)")
_MARKUP = re.compile(r"([*|\\]|(?<=\w)_(?!\w))")


def escaped(line: str) -> str:
    """The line with the characters that reStructuredText would read as markup escaped outside code."""
    parts = _SPAN.split(line)
    return "".join(part if part.startswith("`") else _MARKUP.sub(r"\\\1", part) for part in parts)


def shown(docstring: str) -> str:
    """The docstring as reStructuredText: indented paragraphs and trees are literal, doctests stay as they are."""
    return "\n\n".join(_paragraph(text) for text in re.split(r"\n\s*\n", docstring))


def _paragraph(text: str) -> str:
    if text.startswith(">>>"):
        return text
    if text.startswith(" "):
        return f"::\n\n{text}"
    if re.search("[├└]", text):
        return "::\n\n" + indent(text, "    ")
    return "\n".join(map(escaped, text.split("\n")))


def _rewrite(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [*shown("\n".join(lines).rstrip()).split("\n"), ""]


def _signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str, returns: str
) -> tuple[str, str] | None:
    """Configs have no readable signature: their fields are listed as keys."""
    return ("", "") if isclass(obj) and issubclass(obj, BaseModel) else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hooks on docstrings and signatures."""
    app.connect("autodoc-process-docstring", _rewrite)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True}
