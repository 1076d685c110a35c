"""The experiment config: one strict, frozen pydantic tree, from a YAML file and dotted `KEY=VALUE` overrides.

Every key has a default, so that an empty config is a complete experiment. Units stand in the names
(`_s`, `_bytes`, `num_`); None means what the field's description says it means.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.config.section import (
    Density,
    DeviceLevel,
    Fraction,
    Positive,
    Section,
    UserPath,
    dotted_names,
)
from orchestrator.errors import ConfigError

AllocationKind = Literal["uniform", "er", "erk", "erk_rescaled", "explicit"]


class AlgorithmConfig(Section):
    """Base of every method's own options, which stand beside its name under `algorithm`."""

    name: str = Field(
        "fedavg", description="registry name, `path/to/file.py:Class` or `package.module:Class`"
    )


class ScheduleConfig(Section):
    """How the sparsity level moves over the rounds (methods with a fixed mask accept only `constant`)."""

    kind: Literal["constant", "linear", "cosine", "cubic", "step"] = Field(
        "constant", description="shape of the curve"
    )
    final_level: Fraction | None = Field(None, description="level at `end_round`; None: `sparsity.level`")
    end_round: Positive | None = Field(
        None, description="round at which the level arrives; None: half the rounds"
    )
    num_steps: Positive = Field(
        4, description="equal jumps of the level, the last at `end_round` (kind=step)"
    )


class SparsityConfig(Section):
    """How sparse the model is and how the density is shared out over its layers."""

    level: Fraction | None = Field(
        None,
        description="1 - density; 0 = dense; None: the method's own default, or what `layer_density` comes to",
    )
    allocation: AllocationKind | None = Field(
        None,
        description="density per layer: uniform; er or erk with saturating layers; erk_rescaled as in FedDST's code; "
        "explicit, as in `layer_density`; None: the method's own default, erk_rescaled where it has none",
    )
    layer_density: Annotated[Mapping[str, Density], BeforeValidator(dotted_names)] = Field(
        {},
        description="density by tensor name, others dense (allocation=explicit); with a level, their proportions",
    )
    device_levels: Annotated[Mapping[str, DeviceLevel], BeforeValidator(dotted_names)] = Field(
        {}, description="level that clients of a device profile start from, by profile name; others: `level`"
    )
    schedule: ScheduleConfig = Field(ScheduleConfig(), description="change of the level over the rounds")

    @model_validator(mode="after")
    def _densities_go_with_explicit(self) -> Self:
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
                f"sparsity.allocation={self.allocation or 'unset'} sets the densities itself",
                "use sparsity.allocation=explicit",
            )
        return self


class PartitionConfig(Section):
    """How the training samples are dealt to clients."""

    kind: Literal["iid", "shards", "dirichlet", "balanced_dirichlet", "quantity", "natural"] = Field(
        "dirichlet",
        description="iid; label-sorted shards; Dirichlet by class; balanced; quantity skew; the data's own clients",
    )
    alpha: float = Field(0.5, gt=0.0, description="Dirichlet concentration; small is skewed")
    classes_per_client: Positive = Field(2, description="shards each client takes (kind=shards)")
    shard_size: Positive | None = Field(
        None, description="samples per shard (kind=shards); None: all samples, dealt equally"
    )
    distinct_clients: Positive | None = Field(
        None,
        description="deal the samples to so many clients, whose parts the others repeat in turn; None: to all of them",
    )
    min_samples: Positive = Field(
        2, description="fewest training samples a client may get, validation included"
    )


class DataConfig(Section):
    """Which samples, and how they are split."""

    name: str = Field(
        "digits",
        description="digits, mnist, fashionmnist, emnist, cifar10, cifar100; or parquet, imagefolder, npz, text "
        "in `root`",
    )
    root: UserPath | None = Field(
        None, description="folder or file with the data; None: torchvision downloads"
    )
    augment: bool = Field(False, description="random crop with padding 4, and horizontal flip, when training")
    image_size: Positive | None = Field(None, description="resize images to a square of this many pixels")
    client_column: str | None = Field(None, description="column with client ids (Parquet); for kind=natural")
    label_column: str | None = Field(
        None, description="column with the classes (Parquet); None: label, labels or fine_label"
    )
    sequence_length: Positive = Field(
        40, description="characters from which the next one is predicted (text)"
    )
    stride: Positive = Field(10, description="characters between the starts of two samples (text)")
    min_characters: Positive = Field(1000, description="roles with fewer characters are left out (text)")
    validation_fraction: Fraction = Field(
        0.1, description="share of a client's training samples kept for validation"
    )
    test_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="share held out as central test set where the data has none of its own",
    )
    partition: PartitionConfig = Field(PartitionConfig(), description="how the samples are dealt to clients")


class ModelConfig(Section):
    """Which network, and where it starts."""

    name: str = Field(
        "auto",
        description="a built-in model, `auto` (the data set's usual one), `package.module:function` or a file",
    )
    init: UserPath | None = Field(
        None, description="safetensors file to start from; None: seeded framework default"
    )
    double_softmax: bool = Field(
        False, description="append a softmax before the cross-entropy, as the public FedDST code does"
    )


class TrainingConfig(Section):
    """The federated rounds and what a client does in one."""

    rounds: Positive = Field(20, description="rounds to run")
    clients_per_round: Positive = Field(5, description="clients drawn each round, without replacement")
    with_replacement: bool = Field(False, description="draw with replacement, as the public FedDST code does")
    local_epochs: Positive = Field(5, description="passes over a client's samples per round")
    batch_size: Positive = Field(20, description="samples per step")
    drop_last: bool = Field(
        False,
        description="leave out an epoch's last batch where it is smaller than the others; False: train on it, merged "
        "into the one before where it has one sample and the model needs two",
    )
    reshuffle: bool = Field(
        True,
        description="new batches each epoch; False: a client trains on the same batches for the whole run (scores and "
        "growth gradients take new ones)",
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="local optimiser, new each round")
    lr: float = Field(0.05, gt=0.0, description="local learning rate in round 0")
    lr_decay: float = Field(1.0, gt=0.0, le=1.0, description="factor on the learning rate per round")
    momentum: float = Field(0.9, ge=0.0, lt=1.0, description="SGD momentum (sgd only)")
    weight_decay: float = Field(0.0, ge=0.0, description="L2 decay on all parameters (decoupled for adamw)")
    clip_norm: float | None = Field(None, gt=0.0, description="largest gradient norm; None: no clipping")
    eval_every: Positive = Field(1, description="evaluate every so many rounds, and after the last one")


class EvaluationConfig(Section):
    """What is measured beside the global model's accuracy, whenever the run evaluates."""

    personal_every: Positive | None = Field(
        None,
        description="score the clients' own models every so many rounds, and at the end; None: at every evaluation",
    )
    central_personal: bool = Field(
        False,
        description="score the clients' models, trained and fine-tuned ones too, on the central test set",
    )
    max_clients: Positive | None = Field(
        None, description="score the own models of so many clients, drawn once; None: of all"
    )
    finetune_epochs: Annotated[int, Field(ge=0)] = Field(
        0,
        description="after the last round, score a copy that each client trains on for so many epochs; 0: none",
    )


class WireConfig(Section):
    """How payloads are encoded."""

    value_dtype: Literal["float32", "float16"] = Field("float32", description="dtype of weights on the wire")
