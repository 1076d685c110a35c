"""YAML as configs are written in it: plain values, within bounds that hold for any input.

`load_yaml` reads files that this project wrote, by YAML's own types. `load_settings` and `read_setting` read what
a user wrote: a value stays its text wherever YAML's type would lose something of it, such as 010, 1e-2, 1:30, yes
or a date, and the type of its key decides later what it means.

A document's aliases stand for as many values as they repeat, so that a few lines cannot stand for gigabytes.
"""

import re
from math import isfinite
from typing import Any

import yaml

MAX_BYTES = 2**18
MAX_DEPTH = 32
#: mappings, lists and values of a document, aliases written out
MAX_NODES = 50_000
#: of a number: far more than any has, and Python's own limit is on some ways of writing them only
MAX_DIGITS = 100
_NULL = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile("-?[1-9][0-9]*|0")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def load_yaml(text: bytes | str) -> Any:
    """The value of a document, bytes being UTF-8. Raises yaml.YAMLError or ValueError for what is none or too large."""
    return yaml.load(_bounded(text), Loader=PlainLoader)


def load_settings(text: bytes | str) -> Any:
    """As `load_yaml`, with each unquoted value as `as_written` reads it, and mapping keys as their text."""
    return yaml.load(_bounded(text), Loader=SettingsSafeLoader)


def read_setting(text: str) -> Any:
    """The value in `KEY=VALUE`: a list or mapping in brackets, a text in quotes, else `as_written` of all of it."""
    text = text.strip()
    if text[:1] not in ("[", "{", "'", '"'):
        return as_written(text)
    try:
        node: Any = yaml.compose(text, Loader=SettingsSafeLoader)
        # a comment is part of the text
        return load_settings(text) if node.end_mark.index == len(text) else text
    except (yaml.YAMLError, ValueError):
        return text


def as_written(text: str) -> Any:
    """A number or truth value where the text is its usual spelling, None for null, ~ and nothing; else the text."""
    if text in _NULL:
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text) and len(text) <= MAX_DIGITS:
        return int(text)
    if _FLOAT.fullmatch(text) and isfinite(number := float(text)) and str(number) == text:
        return number
    return text


def _bounded(text: bytes | str) -> str:
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return text if isinstance(text, str) else text.decode("utf-8-sig")


class PlainLoader(yaml.SafeLoader):
    """YAML's own types, without repeated keys, within the bounds above."""

    _depth = 0

    def get_single_data(self) -> Any:
        """The document's value."""
        node = self.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_NODES:
            raise _refusal(f"more than {MAX_NODES} values, with aliases written out", node)
        return self.construct_document(node)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """As usual, down to a depth."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _refusal(f"nested more than {MAX_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        """As usual, where it can be written to a file again and be part of a path."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise _refusal("a character that no text has: NUL, or half of a surrogate pair", node)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """As usual, where no key stands twice; merged keys may be overridden."""
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    if key.value in seen:
                        raise _refusal(f"the key {key.value!r:.60} stands twice in a mapping", key)
                    seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_plain(self, node: Any) -> Any:
        """A value that is told from its text, which a tag may contradict."""
        kind = node.tag.removeprefix(_TAG)
        if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
            raise _refusal(f"a number of more than {MAX_DIGITS} digits", node)
        try:
            return getattr(self, f"construct_yaml_{kind}")(node)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise _refusal(f"{node.value!r:.60} is no {kind}", node) from error


_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
for _kind in ("bool", "int", "float", "timestamp"):
    PlainLoader.add_constructor(f"{_TAG}{_kind}", PlainLoader.construct_plain)


class SettingsSafeLoader(PlainLoader):
    """Values as they are written: only merge keys are told from their text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """As usual, with keys as their text."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                key.style = key.style or "'"
        return super().construct_mapping(node, deep=deep)

    def construct_written(self, node: Any) -> Any:
        """A text, or what an unquoted value is as it is written."""
        value = self.construct_scalar(node)
        return value if node.style else as_written(value)


SettingsSafeLoader.yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("<<$"))]}
SettingsSafeLoader.add_constructor(f"{_TAG}str", SettingsSafeLoader.construct_written)


def _size(node: Any, known: dict[int, int | None]) -> int:
    """Values that a node stands for, as far as they matter: no more than one beyond the bound is counted."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _refusal("an alias within what it stands for", node)
        return size
    known[id(node)] = None
    size = 1
    for child in node.value:
        for inner in child if isinstance(child, tuple) else (child,):
            size = min(size + _size(inner, known), MAX_NODES + 1)
    known[id(node)] = size
    return size


def _refusal(problem: str, where: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)
