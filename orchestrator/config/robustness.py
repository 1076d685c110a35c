"""The sections for hostile clients and for privacy: the rule of aggregation, attacks, and differential privacy."""

from collections.abc import Mapping
from math import ceil, floor
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.config.section import OwnObject, Positive, PositiveFloat, Section, dotted_names

AttackKind = Literal["none", "label_flip", "sign_flip", "gaussian", "inner_product"]
RuleName = Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]


class AggregationConfig(Section):
    """How the server combines the updates of a round: by the method's average, or by a robust rule in its place."""

    rule: RuleName | OwnObject = Field(
        "mean",
        description="mean: the method's average; median or trimmed_mean of each coordinate; krum: the update closest "
        "to others; multi_krum: the mean of several such updates; geometric_median of the updates; or "
        "`path/to/file.py:function`",
    )
    options: Annotated[Mapping[str, Any], BeforeValidator(dotted_names)] = Field(
        {}, description="keyword arguments of your own function (rule=path/to/file.py:function)"
    )
    attacker_share: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(
        0.2,
        description="largest share of attackers among the updates of a round that the rule withstands (trimmed_mean, "
        "krum, multi_krum); trimmed_mean leaves out this share of the values at both ends",
    )
    num_selected: Positive | None = Field(
        None, description="updates to average (multi_krum); None: all except the assumed attackers"
    )
    iterations: Positive = Field(
        10, description="steps of the smoothed Weiszfeld algorithm (geometric_median)"
    )
    smoothing: PositiveFloat = Field(
        1e-6, description="smallest distance that counts, nu in the algorithm (geometric_median)"
    )

    def num_attackers(self, num_updates: int) -> int:
        """Attackers among this number of updates that the rule assumes: the share, rounded up."""
        return ceil(round(self.attacker_share * num_updates, 9))


class AttackConfig(Section):
    """Clients that attack the training. The seed decides which clients attack, for the whole run."""

    kind: AttackKind = Field(
        "none",
        description="what attackers do: train on flipped labels; send their update with the opposite sign; send "
        "Gaussian noise; send the opposite of an estimate of the honest mean (inner_product)",
    )
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.2, description="share of the clients that attack, rounded to a whole number"
    )
    scale: PositiveFloat = Field(
        1.0,
        description="factor on the opposite update (sign_flip, inner_product), or standard deviation of the noise "
        "(gaussian)",
    )

    def num_attackers(self, num_clients: int) -> int:
        """Attackers among all clients; 0 without an attack. Half an attacker counts as one."""
        return 0 if self.kind == "none" else floor(round(self.share * num_clients, 9) + 0.5)


class PrivacyConfig(Section):
    """User-level differential privacy: clipped updates of clients, and Gaussian noise on their mean."""

    clip_norm: PositiveFloat | None = Field(
        None,
        description="largest norm of a client's change of the model, which is scaled down to it; None: no limit",
    )
    noise_multiplier: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="standard deviation of the noise on the sum of the changes, divided by `clip_norm`; 0: no noise",
    )
    delta: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        1e-5, description="probability with which the privacy loss may be larger than the logged epsilon"
    )

    @property
    def has_noise(self) -> bool:
        """Whether the mean of the updates is differentially private."""
        return self.noise_multiplier > 0.0
