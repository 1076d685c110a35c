"""Short names of configurations: the method, and what tells it from the others."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: a method and its configuration, dotted
Described = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """`text` is unique among those made together; `key_values` has the dotted keys that it is made of."""

    text: str
    key_values: Mapping[str, Any]


def labels_of(configurations: Sequence[Described]) -> list[Label]:
    """A label for each, such as `feddst level=0.8 lr=0.05`.

    Keys outside `algorithm` are named where any two configurations differ, a method's options only where
    configurations of that method do; otherwise methods would be labelled with all that others lack. What is
    null is not named, fractions have 4 digits, and keys are shortened to their last parts as far as that
    leaves no doubt. Labels that would be equal have all in full, and a number when that does not help.
    """
    keys = [_telling_keys(one, configurations) for one in configurations]
    named = {key for own in keys for key in own}

    def text(idx: int, *, full: bool) -> str:
        method, config = configurations[idx]
        told = [key for key in keys[idx] if key in config and (full or config[key] is not None)]
        value = value_text if full else short_text
        return " ".join([method, *(f"{shortened(key, named)}={value(config[key])}" for key in told)])

    texts = [text(idx, full=False) for idx in range(len(configurations))]
    counts = Counter(texts)
    unique = _numbered([text(idx, full=counts[short] > 1) for idx, short in enumerate(texts)])
    return [
        Label(text=label, key_values={key: config[key] for key in own if key in config})
        for label, own, (_, config) in zip(unique, keys, configurations, strict=True)
    ]


def differing_keys(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys, sorted, whose values are not the same in all; a key that one lacks is not."""
    every = sorted({key for config in configs for key in config})
    return [key for key in every if len({_value(config, key) for config in configs}) > 1]


def shortened(key: str, among: Iterable[str]) -> str:
    """The last parts of a dotted key that no other key ends in."""
    parts, others = key.split("."), [other for other in among if other != key]
    for num in range(1, len(parts)):
        ending = ".".join(parts[-num:])
        if not any(f".{other}".endswith(f".{ending}") for other in others):
            return ending
    return key


def value_text(value: Any) -> str:
    """A config's value as it would be written in `KEY=VALUE`."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def short_text(value: Any) -> str:
    """Like `value_text`, with 4 digits of a fraction."""
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _telling_keys(one: Described, configurations: Sequence[Described]) -> list[str]:
    shared = differing_keys([config for _, config in configurations])
    own = differing_keys([config for method, config in configurations if method == one[0]])
    return [
        *(key for key in shared if not key.startswith("algorithm.")),
        *(key for key in own if key.startswith("algorithm.")),
    ]


def _numbered(texts: Sequence[str]) -> list[str]:
    taken: dict[str, None] = {}
    for text in texts:
        unique, num = text, 1
        while unique in taken:
            num += 1
            unique = f"{text} #{num}"
        taken[unique] = None
    return list(taken)


def _value(config: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(config[key], sort_keys=True, default=str) if key in config else None
