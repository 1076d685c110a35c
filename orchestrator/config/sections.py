"""The sections for method, sparsity, data, model, evaluation and wire format; `config/training.py` has the training.

Every key has a default, so that an empty config is a complete experiment. The name of a key contains its unit
(`_s`, `_bytes`, `num_`). The description of a key says what None means.
"""

import fractions
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from orchestrator.config.section import (
    Density,
    DeviceLevel,
    Fraction,
    OwnObject,
    Positive,
    PositiveFloat,
    Section,
    UserPath,
    dotted_names,
)
from orchestrator.errors import ConfigError

AllocationKind = Literal["uniform", "er", "erk", "erk_rescaled", "explicit"]


class AlgorithmConfig(Section):
    """Base class of the options of each method. The options and the method's name are keys of `algorithm`."""

    name: str = Field(
        "fedavg", description="registry name, `path/to/file.py:Class` or `package.module:Class`"
    )


class ScheduleConfig(Section):
    """How the sparsity level changes over the rounds (methods with a fixed mask accept only `constant`)."""

    kind: Literal["constant", "linear", "cosine", "cubic", "step"] | OwnObject = Field(
        "constant", description="shape of the curve, or `path/to/file.py:function`"
    )
    final_level: Fraction | None = Field(None, description="level at `end_round`; None: `sparsity.level`")
    end_round: Positive | None = Field(
        None, description="round in which the level reaches `final_level`; None: half the rounds"
    )
    num_steps: Positive = Field(
        4, description="number of equal steps of the level, the last at `end_round` (kind=step)"
    )
    #: the share of the change in each round, and after the last round, by a user's function; None: not computed
    _shares: tuple[float, ...] | None = PrivateAttr(None)

    def with_shares(self, shares: Sequence[float]) -> Self:
        """Return a copy with the share of the change that a user's function gives for each round."""
        copy = self.model_copy()
        copy._shares = tuple(shares)
        return copy

    def own_share(self, round_idx: int) -> float | None:
        """Return the share of the change in a round by a user's function; None for a built-in kind."""
        if self._shares is None:
            assert ":" not in self.kind, "own_parts.density_schedule computes the shares of a function"
            return None
        return self._shares[min(round_idx, len(self._shares) - 1)]


class SparsityConfig(Section):
    """How sparse the model is, and how the density is distributed over its layers."""

    level: Fraction | None = Field(
        None,
        description="1 - density; 0 = dense; None: the method's own default, or the level that `layer_density` gives",
    )
    allocation: AllocationKind | None = Field(
        None,
        description="density per layer: uniform; er or erk, with layers limited to density 1; erk_rescaled as in "
        "FedDST's code; explicit, from `layer_density`; None: the method's own default, or erk_rescaled",
    )
    layer_density: Annotated[Mapping[str, Density], BeforeValidator(dotted_names)] = Field(
        {},
        description="density by tensor name, others dense (allocation=explicit); with `level`, relative densities",
    )
    device_levels: Annotated[Mapping[str, DeviceLevel], BeforeValidator(dotted_names)] = Field(
        {},
        description="initial level of the clients of a device profile, by profile name; other profiles: `level`",
    )
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="change of the level over the rounds")

    def density_at(
        self, progress: float, default: float | fractions.Fraction, profile: str | None = None
    ) -> float:
        """Density when the schedule has made `progress` in [0, 1] of its change.

        Users write sparsity levels, 1 - density. This method alone converts them, so that the core computes with
        densities. The change starts at the level of `device_levels[profile]`, else at `level`, else at the density
        `default`. It ends at `schedule.final_level`, or where it starts.
        """
        first = float(1 - default) if self.level is None else self.level
        if profile is not None:
            first = self.device_levels.get(profile, first)
        last = first if self.schedule.final_level is None else self.schedule.final_level
        return 1.0 - (last if progress == 1.0 else first + (last - first) * progress)

    @model_validator(mode="after")
    def _check_explicit_densities(self) -> Self:
        if self.allocation == "explicit" and not self.layer_density:
            raise ConfigError(
                "sparsity.allocation",
                "explicit",
                "no layer has a density",
                "set sparsity.layer_density={tensor name: density}",
            )
        if self.allocation != "explicit" and self.layer_density:
            raise ConfigError(
                "sparsity.layer_density",
                dict(self.layer_density),
                f"sparsity.allocation={self.allocation or 'unset'} computes the densities itself",
                "use sparsity.allocation=explicit",
            )
        return self


class PartitionConfig(Section):
    """How the training samples are partitioned over clients."""

    kind: Literal["iid", "shards", "dirichlet", "balanced_dirichlet", "quantity", "natural"] | OwnObject = (
        Field(
            "dirichlet",
            description="iid; label-sorted shards; Dirichlet by class; balanced; quantity skew; the data's clients; "
            "or `path/to/file.py:function`",
        )
    )
    options: Annotated[Mapping[str, Any], BeforeValidator(dotted_names)] = Field(
        {}, description="keyword arguments of your own function (kind=path/to/file.py:function)"
    )
    alpha: float = Field(
        0.5, gt=0.0, description="Dirichlet concentration; small values give skewed partitions"
    )
    classes_per_client: Positive = Field(2, description="number of shards per client (kind=shards)")
    shard_size: Positive | None = Field(
        None, description="samples per shard (kind=shards); None: divide all samples equally"
    )
    distinct_clients: Positive | None = Field(
        None,
        description="number of distinct partitions, which further clients repeat in turn; None: one per client",
    )
    min_samples: Positive = Field(2, description="fewest training samples per client, validation included")


class DataConfig(Section):
    """The data set, and how it is split."""

    name: str = Field(
        "digits",
        description="digits, mnist, fashionmnist, emnist, cifar10, cifar100; parquet, imagefolder, npz, table, "
        "huggingface or text in `root`; or `path/to/file.py:function`",
    )
    root: UserPath | None = Field(
        None, description="folder or file with the data; None: torchvision downloads the data"
    )
    augment: bool = Field(False, description="random crop with padding 4 and horizontal flip during training")
    image_size: Positive | None = Field(None, description="resize images to a square of this many pixels")
    mean: tuple[float, ...] | None = Field(
        None,
        description="mean of each channel, with which images in [0, 1] are normalised; None: the published mean of the "
        "data set, else the mean of the training images",
    )
    std: tuple[PositiveFloat, ...] | None = Field(
        None, description="standard deviation of each channel; set it together with `mean`"
    )
    options: Annotated[Mapping[str, Any], BeforeValidator(dotted_names)] = Field(
        {}, description="keyword arguments of your own function (name=path/to/file.py:function)"
    )
    client_column: str | None = Field(
        None, description="column with the client ids (parquet, table, huggingface; kind=natural)"
    )
    label_column: str | None = Field(
        None,
        description="column with the classes (parquet, table, huggingface); None: label, labels or fine_label",
    )
    feature_columns: tuple[str, ...] | None = Field(
        None, description="columns with the features (table, huggingface); None: all other columns"
    )
    sequence_length: Positive = Field(40, description="number of characters before the one to predict (text)")
    stride: Positive = Field(
        10, description="distance between the starts of two samples, in characters (text)"
    )
    min_characters: Positive = Field(1000, description="leave out roles with fewer characters (text)")
    max_gib: float = Field(
        4.0,
        gt=0.0,
        description="largest size of the decoded samples in GiB; a small file may contain very large data",
    )
    validation_fraction: Fraction = Field(
        0.1, description="share of a client's training samples used for validation"
    )
    test_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="share of samples for the central test set, if the data set has no test set",
    )
    partition: PartitionConfig = Field(PartitionConfig(), description="partition of the samples over clients")

    @model_validator(mode="after")
    def _check_constants(self) -> Self:
        if self.mean is None and self.std is not None:
            raise ConfigError("data.std", self.std, "data.mean is not set", "set both keys or neither")
        if self.mean is not None and (self.std is None or len(self.std) != len(self.mean)):
            problem = "data.std does not have the same number of channels"
            raise ConfigError("data.mean", self.mean, problem, "give both keys one number for each channel")
        return self


class ModelConfig(Section):
    """The model and its initial parameters."""

    name: str = Field(
        "auto",
        description="a built-in model, `auto` (the usual model for the data set), `package.module:function` or a file",
    )
    init: UserPath | None = Field(
        None, description="safetensors file with initial parameters; None: PyTorch's default under the seed"
    )
    init_names: Annotated[Mapping[str, str | None], BeforeValidator(dotted_names)] = Field(
        {},
        description="names in the file of `init` of the model's tensors or parts, by the model's name; null: keep the "
        "initial values; {}: the file contains exactly this model's tensors",
    )
    output: str | None = Field(
        None,
        description="the logits in a model with several outputs: their position from 0, or their name; the other "
        "outputs get no loss; None: the model has one output",
    )
    double_softmax: bool = Field(
        False, description="append a softmax before the cross-entropy, as the public FedDST code does"
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        "auto",
        description="memory format of images in the model, which changes the speed and the last bits; auto: the format "
        "measured to be faster for a built-in model, contiguous for other models",
    )

    @model_validator(mode="after")
    def _check_init(self) -> Self:
        if self.init_names and self.init is None:
            problem, remedy = (
                "model.init is not set",
                "set model.init to a safetensors file, or leave it empty",
            )
            raise ConfigError("model.init_names", dict(self.init_names), problem, remedy)
        return self


class EvaluationConfig(Section):
    """What an evaluation measures besides the accuracy of the global model."""

    metrics: tuple[str, ...] | None = Field(
        None,
        description="further metrics of the global model on the central test set: top5, balanced_accuracy, macro_f1, "
        "auc, or `path/to/file.py:function`; None: no further ones",
    )
    personal_every: Positive | None = Field(
        None,
        description="score the clients' own models every this many rounds and at the end; None: at every evaluation",
    )
    central_personal: bool = Field(
        False,
        description="also score the clients' own, trained and fine-tuned models on the central test set",
    )
    max_clients: Positive | None = Field(
        None, description="score the own models of this many clients, sampled once; None: of all clients"
    )
    finetune_epochs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="after the last round, score a copy that each client trains for this many more epochs; 0: do not",
    )


class WireConfig(Section):
    """How payloads are encoded."""

    value_dtype: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        "float32",
        description="dtype of weights on the wire; both ends compute with the rounded values; int8 has a scale for "
        "each vector and rounds at random",
    )
    version: Literal[1, 2] = Field(
        2, description="version of the wire format; 1 codes masks as release 0.1.0 did, with more bytes"
    )
