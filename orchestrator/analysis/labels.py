"""Creates short labels of configurations: the method and the keys that distinguish it from the others."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: name of a method, and its config by dotted key
Described = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label. `text` is unique among the labels of one call; `key_values` has the dotted keys in the label."""

    text: str
    key_values: Mapping[str, Any]


def labels_of(configurations: Sequence[Described]) -> list[Label]:
    """Return a label for each configuration, such as `feddst level=0.8 lr=0.05`.

    - A label contains the keys outside `algorithm` that differ between any two configurations.
    - A label contains the options of its method that differ between configurations of this method.
    - Null values are omitted, fractions have 4 digits, and a key is shortened to its last parts while it is unique.
    - Labels that would be equal contain all values in full. Labels that are still equal get a number.
    """
    keys = [_distinguishing_keys(each, configurations) for each in configurations]
    all_keys = {key for own in keys for key in own}

    def text(idx: int, *, full: bool) -> str:
        method, config = configurations[idx]
        shown = [key for key in keys[idx] if key in config and (full or config[key] is not None)]
        value = value_text if full else short_text
        return " ".join([method, *(f"{shortened(key, all_keys)}={value(config[key])}" for key in shown)])

    texts = [text(idx, full=False) for idx in range(len(configurations))]
    counts = Counter(texts)
    unique = _numbered([text(idx, full=counts[short] > 1) for idx, short in enumerate(texts)])
    return [
        Label(text=label, key_values={key: config[key] for key in own if key in config})
        for label, own, (_, config) in zip(unique, keys, configurations, strict=True)
    ]


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sorted keys whose values differ between the configs, or that some config does not have."""
    every = sorted({key for config in configs for key in config})
    return [key for key in every if len({_value(config, key) for config in configs}) > 1]


def shortened(key: str, among: Iterable[str]) -> str:
    """Return the shortest ending of a dotted key that is not an ending of another key."""
    parts, others = key.split("."), [other for other in among if other != key]
    for num in range(1, len(parts)):
        ending = ".".join(parts[-num:])
        if not any(f".{other}".endswith(f".{ending}") for other in others):
            return ending
    return key


def value_text(value: Any) -> str:
    """Return a config value as text for `KEY=VALUE`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def short_text(value: Any) -> str:
    """Return the text of `value_text`, with at most 4 significant digits of a fraction."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _distinguishing_keys(described: Described, configurations: Sequence[Described]) -> list[str]:
    shared = differing_keys([config for _, config in configurations])
    own = differing_keys([config for method, config in configurations if method == described[0]])
    return [
        *(key for key in shared if not key.startswith("algorithm.")),
        *(key for key in own if key.startswith("algorithm.")),
    ]


def _numbered(texts: Sequence[str]) -> list[str]:
    used: dict[str, None] = {}
    for text in texts:
        unique, num = text, 1
        while unique in used:
            num += 1
            unique = f"{text} #{num}"
        used[unique] = None
    return list(used)


def _value(config: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(config[key], sort_keys=True, default=str) if key in config else None
