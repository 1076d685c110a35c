"""Read YAML safely: only plain values, and limits on size, depth and number of values.

`load_yaml` reads files that this project wrote, with YAML's own types. `load_settings` and `read_setting` read text
that a user wrote. They keep a value as text if YAML's type would lose information (010, 1e-2, 1:30, yes, a date); the
type of the config key decides later how the text is read.

Each use of an alias counts with all values that the alias repeats, so that a few lines cannot expand to gigabytes.
"""

import re
from math import isfinite
from typing import Any

import yaml

MAX_BYTES = 2**18
MAX_DEPTH = 32
#: mappings, lists and values of a document, with aliases expanded
MAX_NODES = 50_000
#: of a number; Python itself limits the digits of decimal integers only
MAX_DIGITS = 100
_NULL = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile("-?[1-9][0-9]*|0")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def load_yaml(text: bytes | str) -> Any:
    """Return the value of a document; bytes are UTF-8. Raises yaml.YAMLError or ValueError for an invalid document."""
    return yaml.load(_bounded(text), Loader=PlainLoader)


def load_settings(text: bytes | str) -> Any:
    """Return the value of a document that a user wrote: `as_written` reads unquoted values, and keys stay text.

    Raises as `load_yaml`.
    """
    return yaml.load(_bounded(text), Loader=SettingsSafeLoader)


def read_setting(text: str) -> Any:
    """Return the value in `KEY=VALUE`: a list or mapping in brackets, text in quotes, or else `as_written`."""
    text = text.strip()
    if text[:1] not in ("[", "{", "'", '"'):
        return as_written(text)
    try:
        node: Any = yaml.compose(text, Loader=SettingsSafeLoader)
        # outside quotes and brackets, `#` starts no comment
        return load_settings(text) if node.end_mark.index == len(text) else text
    except (yaml.YAMLError, ValueError):
        return text


def as_written(text: str) -> Any:
    """Return a number or bool if the text is its standard spelling, None for null, ~ and "", or else the text."""
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
        raise ValueError(f"the text is longer than {MAX_BYTES} bytes")
    return text if isinstance(text, str) else text.decode("utf-8-sig")


class PlainLoader(yaml.SafeLoader):
    """Reads YAML's own types; rejects repeated keys and documents beyond the limits above."""

    _depth = 0

    def get_single_data(self) -> Any:
        """Return the value of the document."""
        node = self.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MAX_NODES:
            raise _error(f"more than {MAX_NODES} values, with aliases written out", node)
        return self.construct_document(node)

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node as PyYAML does, and reject documents nested too deeply."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise _error(f"nested more than {MAX_DEPTH} deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        """Construct a scalar as PyYAML does, and reject text that no file or path can contain."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and _NO_TEXT.search(value):
            raise _error("an invalid character: NUL, or half of a surrogate pair", node)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping as PyYAML does, and reject repeated keys; a merged key may be overridden."""
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                    if key.value in seen:
                        raise _error(f"the key {key.value!r:.60} occurs twice in a mapping", key)
                    seen.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_plain(self, node: Any) -> Any:
        """Construct a value of the tagged type, and reject text that does not fit the type."""
        kind = node.tag.removeprefix(_TAG)
        if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
            raise _error(f"a number of more than {MAX_DIGITS} digits", node)
        try:
            return getattr(self, f"construct_yaml_{kind}")(node)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            raise _error(f"{node.value!r:.60} is not a valid {kind}", node) from error


_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
for _kind in ("bool", "int", "float", "timestamp"):
    PlainLoader.add_constructor(f"{_TAG}{_kind}", PlainLoader.construct_plain)


class SettingsSafeLoader(PlainLoader):
    """Reads unquoted values with `as_written` instead of YAML's types; merge keys (<<) still work."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping whose keys stay text."""
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                key.style = key.style or "'"
        return super().construct_mapping(node, deep=deep)

    def construct_written(self, node: Any) -> Any:
        """Construct quoted text as it is, and unquoted text with `as_written`."""
        value = self.construct_scalar(node)
        return value if node.style else as_written(value)


SettingsSafeLoader.yaml_implicit_resolvers = {"<": [(_MERGE, re.compile("<<$"))]}
SettingsSafeLoader.add_constructor(f"{_TAG}str", SettingsSafeLoader.construct_written)


def _size(node: Any, known: dict[int, int | None]) -> int:
    """Return the number of values of a node with aliases expanded; counting stops at MAX_NODES + 1."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise _error("an alias inside its own anchor", node)
        return size
    known[id(node)] = None
    size = 1
    for child in node.value:
        for inner in child if isinstance(child, tuple) else (child,):
            size = min(size + _size(inner, known), MAX_NODES + 1)
    known[id(node)] = size
    return size


def _error(problem: str, where: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, where.start_mark)
