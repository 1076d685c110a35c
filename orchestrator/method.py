"""The public names for authors of methods.

    from orchestrator.method import Algorithm, LocalRun, ServerState

A method imports names of the package only from this module. `docs/write-a-method.md` explains the hooks with a
complete method. Three modules are public: this one for methods, `orchestrator` for programs that run experiments, and
`orchestrator.contract` for tests of methods. All names that these three do not export are private and may change.

| what | names |
| --- | --- |
| the contract | Algorithm, AlgorithmConfig, Capabilities, Traits, Citation, ServerState, ConfigError, WireError |
| a client's task | LocalRun, Batch, ClientTask, RoundPlan, Adam, accuracy, batch_sizes, fine_tune, add_sparse_backward, largest_entries |
| messages | Payload, Dense, Masked, Bits, Scalar, Bool, MODEL_ITEM, ModelValues, pack_model, unpack_model, find_model, find_bits, find_values, MODEL_FORM, ItemForm, check_size, as_sent |
| averages | Aggregate, Aggregator, Contribution, AGGREGATORS |
| random numbers | stream |
| masks and densities | allocate, share_out, SparsityConfig, AllocationKind, initial_mask, magnitude_mask, random_mask, prune_share, mask_distance, reject_empty_layers, smallest_density, exact_share, keep_top, keep_top_overall, grow_top, select_top, cosine_anneal |
| masks for each client | ClientMask, ClientMaskAlgorithm, ROUNDING |
| a mask before training | MaskAtStartAlgorithm, MaskAtStartConfig |
| personal parts and heads | PersonalPartAlgorithm, PersonalPart, PersonalHeadAlgorithm, PersonalHeadConfig |
| adaptive server steps | AdaptiveServerAlgorithm, AdaptiveServerConfig, AdaptiveServerState |
| submodels | StructuredAlgorithm, StructuredConfig, ChosenUnitsAlgorithm, UNIT_BITS, CompensatedAlgorithm, CompensatedConfig, ClientRatio, RatioPolicy, KeptUnits, UnitGroup, first_units, unit_sums, units_to_bits, bits_to_units, ucbv_index |
| the flat vector | ParameterLayout, Segment |
"""  # noqa: E501

from orchestrator.citations.citation import Citation
from orchestrator.config.sections import AlgorithmConfig, AllocationKind, SparsityConfig
from orchestrator.errors import ConfigError, WireError
from orchestrator.federation.aggregate import AGGREGATORS, Aggregate, Aggregator, Contribution
from orchestrator.federation.algorithm import Algorithm, ServerState
from orchestrator.federation.bases.adaptive_server import (
    AdaptiveServerAlgorithm,
    AdaptiveServerConfig,
    AdaptiveServerState,
)
from orchestrator.federation.bases.chosen_units import UNIT_BITS, ChosenUnitsAlgorithm
from orchestrator.federation.bases.client_masks import ROUNDING, ClientMask, ClientMaskAlgorithm
from orchestrator.federation.bases.compensated import CompensatedAlgorithm, CompensatedConfig
from orchestrator.federation.bases.keep_ratio import RatioPolicy, ucbv_index
from orchestrator.federation.bases.mask_at_start import MaskAtStartAlgorithm, MaskAtStartConfig
from orchestrator.federation.bases.personal_head import PersonalHeadAlgorithm, PersonalHeadConfig
from orchestrator.federation.bases.personal_part import PersonalPart, PersonalPartAlgorithm
from orchestrator.federation.bases.structured import ClientRatio, StructuredAlgorithm, StructuredConfig
from orchestrator.federation.capabilities import Capabilities
from orchestrator.federation.evaluate import accuracy
from orchestrator.federation.exchange import (
    MODEL_ITEM,
    ModelValues,
    as_sent,
    check_size,
    find_bits,
    find_model,
    find_values,
    pack_model,
    unpack_model,
)
from orchestrator.federation.item_form import MODEL_FORM, ItemForm
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.optimizers import Adam
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.local.sparse_backward import add_sparse_backward, largest_entries
from orchestrator.federation.local.training import fine_tune
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.seeds import stream
from orchestrator.federation.traits import Traits
from orchestrator.models.parameters import ParameterLayout, Segment
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import (
    KeptUnits,
    bits_to_units,
    first_units,
    unit_sums,
    units_to_bits,
)
from orchestrator.sparsity.allocation import allocate, share_out, smallest_density
from orchestrator.sparsity.exact import exact_share
from orchestrator.sparsity.masks import (
    initial_mask,
    magnitude_mask,
    mask_distance,
    prune_share,
    random_mask,
    reject_empty_layers,
)
from orchestrator.sparsity.payload import Bits, Bool, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.schedules import cosine_anneal
from orchestrator.sparsity.scores import grow_top, keep_top, keep_top_overall, select_top

__all__ = [
    "AGGREGATORS",
    "MODEL_FORM",
    "MODEL_ITEM",
    "ROUNDING",
    "UNIT_BITS",
    "Adam",
    "AdaptiveServerAlgorithm",
    "AdaptiveServerConfig",
    "AdaptiveServerState",
    "Aggregate",
    "Aggregator",
    "Algorithm",
    "AlgorithmConfig",
    "AllocationKind",
    "Batch",
    "Bits",
    "Bool",
    "Capabilities",
    "ChosenUnitsAlgorithm",
    "Citation",
    "ClientMask",
    "ClientMaskAlgorithm",
    "ClientRatio",
    "ClientTask",
    "CompensatedAlgorithm",
    "CompensatedConfig",
    "ConfigError",
    "Contribution",
    "Dense",
    "ItemForm",
    "KeptUnits",
    "LocalRun",
    "MaskAtStartAlgorithm",
    "MaskAtStartConfig",
    "Masked",
    "ModelValues",
    "ParameterLayout",
    "Payload",
    "PersonalHeadAlgorithm",
    "PersonalHeadConfig",
    "PersonalPart",
    "PersonalPartAlgorithm",
    "RatioPolicy",
    "RoundPlan",
    "Scalar",
    "Segment",
    "ServerState",
    "SparsityConfig",
    "StructuredAlgorithm",
    "StructuredConfig",
    "Traits",
    "UnitGroup",
    "WireError",
    "accuracy",
    "add_sparse_backward",
    "allocate",
    "as_sent",
    "batch_sizes",
    "bits_to_units",
    "check_size",
    "cosine_anneal",
    "exact_share",
    "find_bits",
    "find_model",
    "find_values",
    "fine_tune",
    "first_units",
    "grow_top",
    "initial_mask",
    "keep_top",
    "keep_top_overall",
    "largest_entries",
    "magnitude_mask",
    "mask_distance",
    "pack_model",
    "prune_share",
    "random_mask",
    "reject_empty_layers",
    "select_top",
    "share_out",
    "smallest_density",
    "stream",
    "ucbv_index",
    "unit_sums",
    "units_to_bits",
    "unpack_model",
]
