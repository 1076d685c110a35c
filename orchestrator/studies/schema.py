"""The schema of study files: what a study claims, runs, measures and compares.

All parts are fixed before the study runs. A study's folder has a copy of its file, and reports read this copy.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from orchestrator.formatting import parse_bytes
from orchestrator.studies.rules import Rule, SlopeRule, StudyPart, UntestedRule
from orchestrator.suggest import suggest

Scale = Literal["quick", "paper"]
SCALES: tuple[Scale, ...] = ("quick", "paper")
DataNeed = Literal["digits", "mnist", "cifar10", "shakespeare"]
MeasuredMetric = Literal[
    "accuracy",
    "personal_accuracy",
    "train_loss",
    "upload_bytes",
    "download_bytes",
    "train_flops",
    "emulated_s",
    "mask_turnover",
]
#: logged name of each metric
LOGGED: dict[MeasuredMetric, str] = {
    "accuracy": "eval/accuracy",
    "personal_accuracy": "personal/accuracy_mean",
    "train_loss": "train/loss",
    "upload_bytes": "comm/upload_bytes_total",
    "download_bytes": "comm/download_bytes_total",
    "train_flops": "compute/train_flops_total",
    "emulated_s": "time/emulated_s_total",
    "mask_turnover": "sparsity/mask_change",
}
#: logged name of the same accuracy on validation data
VALIDATION: dict[MeasuredMetric, str] = {
    "accuracy": "validation/accuracy",
    "personal_accuracy": "validation/personal_accuracy_mean",
}
#: metrics that grow over a run
COST_METRICS: tuple[MeasuredMetric, ...] = ("upload_bytes", "download_bytes", "train_flops", "emulated_s")
#: metrics of single rounds that count as their sum over the rounds
SUMMED_METRICS: tuple[MeasuredMetric, ...] = ("mask_turnover",)
#: sections and keys that a study's config cannot set, because the command sets them
_RESERVED = ("seed", "runtime", "tracking", "chaos")

Tree = Mapping[str, Any]


def _check_tree(tree: Tree) -> Tree:
    if reserved := [key for key in tree if key in _RESERVED]:
        raise ValueError(f"a study cannot set {', '.join(reserved)}; the command sets these keys")
    if any("." in key for key in tree):
        raise ValueError("a section contains no dot; write `section: {key: value}`")
    return tree


ConfigTree = Annotated[Tree, AfterValidator(_check_tree)]


class ScaleConfig(StudyPart):
    """What one scale adds.

    - `config`: config tree of all runs.
    - `tuning`: config tree of the tuning runs, such as fewer rounds, which are the same for all arms.
    - `upload_cap`: text such as 1.2GB, at which contrasts with `at: cap` measure; None: they have no result.
    """

    config: ConfigTree = Field(default_factory=dict)
    tuning: ConfigTree = Field(default_factory=dict)
    upload_cap: str | None = None

    @property
    def cap_bytes(self) -> float | None:
        """The cap in bytes."""
        return None if self.upload_cap is None else parse_bytes(self.upload_cap)

    @model_validator(mode="after")
    def _check_cap(self) -> Self:
        if self.upload_cap is not None and not parse_bytes(self.upload_cap) > 0:
            raise ValueError("upload_cap must be a positive number of bytes, such as 500MB")
        return self


class StudySetting(StudyPart):
    """Data, partition, model and training that several arms share.

    - `arms`: the arms that run in this setting; None: all arms.
    - `tuned_by`: measure whose metric on validation data chooses the arms' values.
    - `scales`: the scales at which the setting runs, with what they add.
    """

    title: str
    data: DataNeed
    config: ConfigTree = Field(default_factory=dict)
    arms: tuple[str, ...] | None = None
    tuned_by: str
    scales: Mapping[Scale, ScaleConfig] = Field(min_length=1)


class Arm(StudyPart):
    """A method with its options.

    - `scales`: config tree that a scale adds to the arm, such as fewer rounds for an arm that reaches the cap early.
    - `tune`: dotted config key -> values of the arm's main option, from which the tuning chooses. The learning
      rate is always tuned.
    - `tuned_with`: another arm, whose chosen values this arm takes, so that an ablation changes one thing only.
    - `tuned_by`: the measure for this arm if it differs from the setting's, such as that of a method without a server
      model.
    """

    label: str
    config: ConfigTree
    scales: Mapping[Scale, ConfigTree] = Field(default_factory=dict)
    tune: Mapping[str, tuple[Any, ...]] = Field(default_factory=dict)
    tuned_with: str | None = None
    tuned_by: str | None = None

    @model_validator(mode="after")
    def _check_tuning(self) -> Self:
        if self.tune and self.tuned_with is not None:
            raise ValueError(
                "an arm with tuned_with has no values of its own to tune; leave tune or tuned_with out"
            )
        if any(not values for values in self.tune.values()):
            raise ValueError("each key of tune needs at least one value")
        return self


class StudyMeasure(StudyPart):
    """A number of a run. `direction` says whether a higher or a lower value is better."""

    metric: MeasuredMetric
    direction: Literal["higher", "lower"]


class StudyContrast(StudyPart):
    """Comparisons that are named beforehand: each of `a` with each of `b` in each of `settings`.

    - `settings`: None: all settings in which both arms run.
    - `at`: end of the run; the setting's upload cap; or, for a cost, the first evaluation that reaches the accuracy
      `target` that both arms reach at the end.
    - `cap_factor_b`: the second arm may upload this many times the cap.
    """

    a: tuple[str, ...] = Field(min_length=1)
    b: tuple[str, ...] = Field(min_length=1)
    settings: tuple[str, ...] | None = None
    measure: str
    at: Literal["end", "cap", "target"] = "end"
    target: str | None = None
    cap_factor_b: Annotated[float, Field(gt=0.0)] = 1.0


class Claim(StudyPart):
    """A claim with its published figure and source, and the rule that decides about it.

    At scales that `scales` does not contain, the claim cannot be tested.
    """

    text: str
    published: str
    source: str
    rule: Rule
    scales: tuple[Scale, ...] = SCALES


class Study(StudyPart):
    """A study. `notes` are lines on deviations from the papers and on arms that are left out."""

    title: str
    question: str
    paper: str
    notes: tuple[str, ...] = ()
    learning_rates: tuple[float, ...] = Field(min_length=1)
    config: ConfigTree = Field(default_factory=dict)
    scales: Mapping[Scale, ScaleConfig] = Field(default_factory=dict)
    settings: Mapping[str, StudySetting] = Field(min_length=1)
    arms: Mapping[str, Arm] = Field(min_length=1)
    measures: Mapping[str, StudyMeasure] = Field(min_length=1)
    contrasts: Mapping[str, StudyContrast] = Field(default_factory=dict)
    claims: Mapping[str, Claim] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for name, setting in self.settings.items():
            _require(setting.arms or (), self.arms, f"settings.{name}.arms")
            self._check_tuned_by(f"settings.{name}.tuned_by", setting.tuned_by)
        for name, arm in self.arms.items():
            if arm.tuned_by is not None:
                self._check_tuned_by(f"arms.{name}.tuned_by", arm.tuned_by)
            if arm.tuned_with is not None:
                _require([arm.tuned_with], self.arms, f"arms.{name}.tuned_with")
                self._check_tuned_with(name, arm.tuned_with)
        for name, contrast in self.contrasts.items():
            self._check_contrast(f"contrasts.{name}", contrast)
        for name, claim in self.claims.items():
            self._check_rule(f"claims.{name}.rule", claim.rule)
        return self

    def _check_tuned_by(self, where: str, measure: str) -> None:
        _require([measure], self.measures, where)
        if self.measures[measure].metric not in VALIDATION:
            raise ValueError(f"{where} must be a measure of accuracy or personal_accuracy")

    def _check_tuned_with(self, name: str, other: str) -> None:
        if self.arms[other].tuned_with is not None:
            raise ValueError(
                f"arms.{name}.tuned_with: {other} is not tuned itself; name the arm that is tuned"
            )
        missing = [
            each for each in self.settings if name in self.arms_in(each) and other not in self.arms_in(each)
        ]
        if missing:
            raise ValueError(f"arms.{name}.tuned_with: {other} does not run in the setting {missing[0]}")

    def _check_contrast(self, where: str, contrast: StudyContrast) -> None:
        _require([*contrast.a, *contrast.b], self.arms, where)
        _require(contrast.settings or (), self.settings, f"{where}.settings")
        _require([contrast.measure], self.measures, f"{where}.measure")
        if (contrast.at == "target") != (contrast.target is not None):
            raise ValueError(f"{where}: at=target needs the accuracy measure `target`, and nothing else does")
        if contrast.target is not None:
            _require([contrast.target], self.measures, f"{where}.target")
            if self.measures[contrast.measure].metric not in COST_METRICS:
                raise ValueError(f"{where}: at=target compares costs; choose {', '.join(COST_METRICS)}")

    def _check_rule(self, where: str, rule: Rule) -> None:
        if isinstance(rule, UntestedRule):
            return
        if isinstance(rule, SlopeRule):
            _require(rule.arms, self.arms, f"{where}.arms")
            _require(rule.settings, self.settings, f"{where}.settings")
            _require([rule.measure], self.measures, f"{where}.measure")
        else:
            _require(rule.contrasts, self.contrasts, f"{where}.contrasts")

    def arms_in(self, setting: str) -> tuple[str, ...]:
        """Return the arms that run in a setting."""
        chosen = self.settings[setting].arms
        return tuple(self.arms) if chosen is None else chosen

    def tuning_measure(self, setting: str, arm: str) -> StudyMeasure:
        """Return the measure that chooses an arm's values in a setting."""
        return self.measures[self.arms[arm].tuned_by or self.settings[setting].tuned_by]

    def settings_at(self, scale: Scale) -> tuple[str, ...]:
        """Return the settings that run at a scale."""
        return tuple(name for name, setting in self.settings.items() if scale in setting.scales)


def _require(names: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: there is no {name!r}; {suggest(name, known)}")
