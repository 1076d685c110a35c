"""Lists the configurations of a stage as the search space of its sweep."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from pprint import pformat
from typing import Any

from orchestrator.atomic_write import write_durably
from orchestrator.config.overrides import flatten, put_values
from orchestrator.studies.plan import StudyPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The configurations of a stage.

    - `base`: config tree that all configurations share.
    - `configurations`: values by dotted key; no two give the same config.
    - `index`: for each entry of the stage, in order, the number of its configuration. Equal configs share a number.
    """

    base: Mapping[str, Any]
    configurations: tuple[Mapping[str, Any], ...]
    index: tuple[int, ...]


def list_configurations(plan: StudyPlan, trees: Iterable[Mapping[str, Any]]) -> Listing:
    """List config trees without a seed. Keys with the same value in all trees belong to `base`."""
    flat = [flatten(tree) for tree in trees]
    numbers: dict[str, int] = {}
    first: list[dict[str, Any]] = []
    index = []
    for values in flat:
        identity = json.dumps(plan.parse(put_values({}, values)).to_dict(), sort_keys=True, default=str)
        if identity not in numbers:
            numbers[identity] = len(first)
            first.append(values)
        index.append(numbers[identity])
    shared = {
        key: value
        for key, value in first[0].items()
        if key != "algorithm.name" and all(key in values and values[key] == value for values in first)
    }
    listed = tuple({key: value for key, value in values.items() if key not in shared} for values in first)
    return Listing(base=put_values({}, shared), configurations=listed, index=tuple(index))


def write_space(path: Path, summary: str, listing: Listing) -> None:
    """Write a search-space file with the configurations. A file that exists stays, because its sweep depends on it."""
    if not path.exists():
        text = pformat([dict(each) for each in listing.configurations], width=100, sort_dicts=False)
        write_durably(path, f'"""{summary}"""\n\nSPACE = {text}\n'.encode())
