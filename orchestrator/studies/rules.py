"""The rules that turn the contrasts of a study into the verdict on a claim. A study file names its rules."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: whether a rule must be satisfied in all contrasts, or in at least one
Need = Literal["all", "some"]


class StudyPart(BaseModel):
    """A part of a study file. Parts are frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class DifferenceRule(StudyPart):
    """The first arm is better than the second by at least `margin`, and the interval of the difference is above 0.

    Accuracies are fractions: a margin of 0.1 is 10 points. `smallest` is the smallest difference of interest.
    """

    kind: Literal["difference"]
    contrasts: tuple[str, ...] = Field(min_length=1)
    margin: Annotated[float, Field(ge=0.0)] = 0.0
    smallest: Annotated[float, Field(gt=0.0)] = 0.01
    need: Need = "all"


class NonInferiorityRule(StudyPart):
    """The first arm is worse than the second by at most `margin`. Accuracies are fractions, as in DifferenceRule."""

    kind: Literal["non_inferiority"]
    contrasts: tuple[str, ...] = Field(min_length=1)
    margin: Annotated[float, Field(gt=0.0)]
    need: Need = "all"


class ErrorReductionRule(StudyPart):
    """The first arm's error, 1 - accuracy, is smaller than the second's by at least the share `at_least`."""

    kind: Literal["error_reduction"]
    contrasts: tuple[str, ...] = Field(min_length=1)
    at_least: Annotated[float, Field(gt=0.0, lt=1.0)]
    need: Need = "all"


class CostRatioRule(StudyPart):
    """The first arm's cost divided by the second's is at most `at_most`."""

    kind: Literal["cost_ratio"]
    contrasts: tuple[str, ...] = Field(min_length=1)
    at_most: Annotated[float, Field(gt=0.0)]
    need: Need = "all"


class SlopeRule(StudyPart):
    """The slope of log(measure) over log(round) of an arm is within [`low`, `high`]; None: no bound at this end.

    The fit leaves out the first `skip` rounds.
    """

    kind: Literal["slope"]
    arms: tuple[str, ...] = Field(min_length=1)
    settings: tuple[str, ...] = Field(min_length=1)
    measure: str
    low: float | None = None
    high: float | None = None
    skip: Annotated[int, Field(ge=0)] = 0
    need: Need = "all"


class UntestedRule(StudyPart):
    """No run of this study can test the claim."""

    kind: Literal["untested"]
    reason: str


Rule = Annotated[
    DifferenceRule | NonInferiorityRule | ErrorReductionRule | CostRatioRule | SlopeRule | UntestedRule,
    Field(discriminator="kind"),
]
