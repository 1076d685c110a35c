"""The format versions of stored configs, and how a config of an earlier format becomes one of today's format.

A run stores its config and the version of its format. A release that renames or removes a key, or that changes the
meaning of a value, adds one `FormatChange` to `CONFIG_FORMATS`. A new key needs no entry if its default means "as
before", because a key that a stored config does not have gets its default.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, final

from orchestrator.config.overrides import put_values
from orchestrator.errors import ConfigError

#: stands for a key that a config does not have
ABSENT = object()


@dataclass(frozen=True, slots=True)
class RemovedKey:
    """A key that no longer exists.

    - `remedy`: what a user can do whose run would give another result.
    - `neutral`: the value under which today's release gives the same result. A config with this value loses the key.
    - `belongs`: whether a config has the key in this meaning. A key of a user's own method stays.
    - `has_effect`: whether the key has an effect in a config. Where it has none, the config loses the key.
    """

    remedy: str
    neutral: Any = ABSENT
    belongs: Callable[[Mapping[str, Any]], bool] = lambda config: True
    has_effect: Callable[[Mapping[str, Any]], bool] = lambda config: True


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatChange:
    """The difference between format `version` and the format before it. All keys are dotted.

    - `added`: values that mean "as before", for new keys whose default means something else; or functions that return
      such a value for the whole config, or `ABSENT` for a config that does not have the key.
    - `renamed`: old key -> new key.
    - `removed`: keys that no longer exist.
    - `restated`: key -> function that returns today's value for the old value and the whole config. Use it for a
      value whose meaning changed.
    """

    version: int
    added: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, RemovedKey] = field(default_factory=dict)
    restated: Mapping[str, Callable[[Any, Mapping[str, Any]], Any]] = field(default_factory=dict)


@final
class ConfigFormats:
    """All formats of stored configs, from format 1 on; each change leads to the next format."""

    def __init__(self, changes: Sequence[FormatChange]) -> None:
        versions = [change.version for change in changes]
        assert versions == list(range(2, len(changes) + 2)), versions
        self.changes = tuple(changes)

    @property
    def latest(self) -> int:
        """The format that this release stores."""
        return 1 + len(self.changes)

    def migrate(self, tree: Mapping[str, Any], version: int, *, keep_removed: bool = False) -> dict[str, Any]:
        """Return a config tree of format `version` in the latest format.

        A key of a later format stays as it is, so that a config may already have some of these keys. Raises
        ConfigError for a removed key with a value that is not neutral; with `keep_removed`, such a key stays.
        """
        migrated = deepcopy(dict(tree))
        for change in self.changes[version - 1 :]:
            migrated = _apply(change, migrated, keep_removed)
        return migrated


def _apply(change: FormatChange, tree: dict[str, Any], keep_removed: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, restate in change.restated.items():
        if (old := _get(tree, key)) is not ABSENT:
            values[key] = restate(old, tree)
    for key, value in change.added.items():
        old_meaning = value(tree) if callable(value) else value
        if _get(tree, key) is ABSENT and old_meaning is not ABSENT:
            values[key] = old_meaning
    for old_key, new_key in change.renamed.items():
        if (value := _pop(tree, old_key)) is not ABSENT and _get(tree, new_key) is ABSENT:
            values[new_key] = value
    values |= _without_removed(change, tree, keep_removed)
    return put_values(tree, values)


def _without_removed(change: FormatChange, tree: dict[str, Any], keep_removed: bool) -> dict[str, Any]:
    """Take the removed keys out of the tree; return those that `keep_removed` keeps."""
    kept: dict[str, Any] = {}
    for key, removed in change.removed.items():
        if not removed.belongs(tree):
            continue
        has_effect = removed.has_effect(tree)
        if (value := _pop(tree, key)) is ABSENT or value == removed.neutral or not has_effect:
            continue
        if not keep_removed:
            raise ConfigError(key, value, "this release has no such key", removed.remedy)
        kept[key] = value
    return kept


def _get(tree: Mapping[str, Any], key: str) -> Any:
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.get(section)
        if not isinstance(inner, Mapping):
            return ABSENT
        tree = inner
    return tree.get(last, ABSENT)


def _pop(tree: dict[str, Any], key: str) -> Any:
    """Remove a key from the tree, and return its value."""
    if (value := _get(tree, key)) is not ABSENT:
        *sections, last = key.split(".")
        for section in sections:
            tree = tree[section]
        del tree[last]
    return value


def _readjust_after_only_epoch(value: Any, config: Mapping[str, Any]) -> Any:
    """Format 1 readjusted after the only local epoch; later formats readjust in the middle of it by default."""
    return 1 if value is None and _get(config, "training.local_epochs") == 1 else value


def _digits_constant(value: float) -> Callable[[Mapping[str, Any]], list[float] | None]:
    """Format 1 normalised the digits with fixed constants, which its test images had contributed to."""
    return lambda config: [value] if _get(config, "data.name") in ("digits", ABSENT) else None


def _if_compensated(value: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Formats up to 3 scored the submodels of all methods with the option `masked_loss`, with unchanged logits."""
    return lambda config: ABSENT if _get(config, "algorithm.masked_loss") is ABSENT else value


def _has(key: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda config: _get(config, key) is not ABSENT


def _has_bandit(config: Mapping[str, Any]) -> bool:
    return bool(_get(config, "algorithm.ratio_policy") == "p_ucbv")


CONFIG_FORMATS = ConfigFormats(
    (
        FormatChange(
            version=2,
            added={
                "fleet.sparse_efficiency": 1.0,
                "data.mean": _digits_constant(0.3053),
                "data.std": _digits_constant(0.3760),
            },
            restated={"algorithm.adjust_after_epoch": _readjust_after_only_epoch},
        ),
        FormatChange(
            version=3, added={"model.memory_format": "contiguous", "wire.version": 1, "data.max_gib": 1e6}
        ),
        FormatChange(
            version=4,
            added={
                "algorithm.scored_model": _if_compensated("submodel"),
                "algorithm.masked_scores": _if_compensated(False),
            },
            removed={
                "algorithm.min_ratio": RemovedKey(
                    "its bandit has another reward now; start a new run",
                    belongs=_has("algorithm.ratio_policy"),
                    has_effect=_has_bandit,
                ),
                "algorithm.importance_std": RemovedKey(
                    "its importance is learned in another way now; start a new run",
                    belongs=_has("algorithm.importance_batches"),
                ),
            },
        ),
    )
)
