"""The configurations of a study: which arms run in which settings, with which values, at one scale."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import flatten, merge, put_values
from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.studies.data_needs import assumed_data_config, data_config
from orchestrator.studies.schema import Scale, ScaleConfig, Study

#: seeds of the tuning runs, which no reported run has; all values run with the first seed, and the best with all
TUNING_SEEDS = (100, 101, 102)
#: how many values of an arm run with all tuning seeds
NUM_FINALISTS = 2
#: evaluations whose mean is the outcome of a run
NUM_AVERAGED = 5
#: the key that all arms tune
LEARNING_RATE = "training.lr"

#: values of tuned keys, by dotted key
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One arm in one setting."""

    setting: str
    arm: str


#: cell, values and config tree of one configuration, without the seed
Entry = tuple[Cell, Values, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """A study at a scale.

    - `num_seeds`: reported seeds, 0 to `num_seeds` - 1.
    - `data`: folder of the data; None: the configs do not name any files, for estimates.
    - `chosen_settings`: the settings that the user chose; empty: all settings of the scale.
    """

    name: str
    study: Study
    scale: Scale
    num_seeds: int
    data: Path | None
    chosen_settings: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings that run, in the order of the study's file."""
        known = self.study.settings_at(self.scale)
        return tuple(name for name in known if not self.chosen_settings or name in self.chosen_settings)

    @property
    def is_part(self) -> bool:
        """Whether some settings of the scale do not run."""
        return self.settings != self.study.settings_at(self.scale)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All arms in all settings that run."""
        return tuple(Cell(setting, arm) for setting in self.settings for arm in self.study.arms_in(setting))

    def setting_scale(self, setting: str) -> ScaleConfig:
        """Return what the scale adds to a setting."""
        return self.study.settings[setting].scales[self.scale]

    def report_config(self, cell: Cell, values: Values) -> dict[str, Any]:
        """Return the config tree of a reported run with the chosen values, without the seed."""
        study, setting, arm = self.study, self.study.settings[cell.setting], self.study.arms[cell.arm]
        scale = study.scales.get(self.scale, ScaleConfig())
        tree: dict[str, Any] = {}
        for part in (study.config, scale.config, setting.config, self.setting_scale(cell.setting).config):
            tree = merge(tree, part)
        needed = (
            assumed_data_config(setting.data) if self.data is None else data_config(setting.data, self.data)
        )
        for part in ({"data": needed}, arm.config, arm.scales.get(self.scale, {})):
            tree = merge(tree, part)
        return put_values(tree, values)

    def tuning_config(self, cell: Cell, values: Values) -> dict[str, Any]:
        """Return the config tree of a tuning run, without the seed."""
        tree = self.report_config(cell, {})
        for scale in (self.study.scales.get(self.scale, ScaleConfig()), self.setting_scale(cell.setting)):
            tree = merge(tree, scale.tuning)
        return put_values(tree, values)

    def grid(self, cell: Cell) -> list[Values]:
        """Return the values that tuning tries for an arm; empty for an arm that takes the values of another arm."""
        arm = self.study.arms[cell.arm]
        if arm.tuned_with is not None:
            return []
        knobs = {LEARNING_RATE: self.study.learning_rates, **arm.tune}
        return [dict(zip(knobs, values, strict=True)) for values in product(*knobs.values())]

    def tuned_cell(self, cell: Cell) -> Cell:
        """Return the cell whose tuning chooses the values of this cell."""
        return Cell(cell.setting, self.study.arms[cell.arm].tuned_with or cell.arm)

    def values_for(self, cell: Cell, chosen: Mapping[Cell, Values]) -> Values:
        """Return the values of a cell: the chosen values without the keys that the arm itself sets."""
        own = flatten(self.study.arms[cell.arm].config)
        values = chosen[self.tuned_cell(cell)]
        is_own = cell == self.tuned_cell(cell)
        return (
            values if is_own else {key: value for key, value in values.items() if self._has(cell, key, own)}
        )

    def _has(self, cell: Cell, key: str, own: Mapping[str, Any]) -> bool:
        """Whether an arm takes a key of another arm: a key that it does not set, and that its method has."""
        if key in own:
            return False
        if not key.startswith("algorithm."):
            return True
        options = self.parse(self.report_config(cell, {})).algorithm
        return key.removeprefix("algorithm.") in type(options).model_fields

    def tuning_entries(self, tried: Mapping[Cell, Sequence[Values]] | None = None) -> Iterator[Entry]:
        """Yield every tuning configuration; `tried`: the values of each cell, by default its whole grid."""
        for cell in self.cells:
            for values in self.grid(cell) if tried is None else tried.get(cell, ()):
                yield cell, values, self.tuning_config(cell, values)

    def check(self) -> None:
        """Parse every config of the study. Raises RequestError, which names setting and arm, for an invalid config."""
        chosen: dict[Cell, Values] = {}
        for cell, values, tree in self.tuning_entries():
            chosen.setdefault(cell, values)
            self._check(cell, tree)
        for cell in self.cells:
            self._check(cell, self.report_config(cell, self.values_for(cell, chosen)))

    def _check(self, cell: Cell, tree: Mapping[str, Any]) -> None:
        config = self.parse(tree, cell)
        if config.data.validation_fraction == 0.0:
            problem = f"tuning chooses by validation data (setting {cell.setting}, arm {cell.arm})"
            raise ConfigError("data.validation_fraction", 0.0, problem, "set it above 0 in the study file")

    def parse(self, tree: Mapping[str, Any], cell: Cell | None = None) -> ExperimentConfig:
        """Parse a config tree. Raises RequestError, which names setting and arm, for an invalid config."""
        try:
            return ExperimentConfig.parse(tree)
        except RequestError as error:
            if cell is None:
                raise
            problem = f"{error.problem} (setting {cell.setting}, arm {cell.arm})"
            raise type(error)(error.field, error.value, problem, error.remedy) from error

    def upload_cap(self, setting: str) -> float | None:
        """Return the setting's upload cap in bytes; None without a cap."""
        return self.setting_scale(setting).cap_bytes
