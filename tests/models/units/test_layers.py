"""The tensors that a layer assigns to units, layer by layer."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.units.groups import Couplings
from orchestrator.models.units.layers import LayerCall, TensorClaims, UnitAxis, follow_layer

IMAGES = torch.zeros(2, 4, 5, 5)


class _Model:
    """Layers that are followed one after the other, each on its own input."""

    def __init__(self, *layers: nn.Module) -> None:
        self.module = nn.Sequential(*layers)
        self.couplings = Couplings([name for name, _ in self.module.named_modules()])
        self.tensors = TensorClaims(self.module, self.couplings)

    def follow(self, number: int, inputs: Tensor, axis: UnitAxis | None) -> UnitAxis | None:
        layer = self.module[number]
        call = LayerCall(
            name=str(number),
            layer=layer,
            axis=axis,
            num_inputs=1,
            result=layer(inputs),
            tensors=self.tensors,
        )
        found = follow_layer(call)
        return found if found is None or isinstance(found, UnitAxis) else found[0]

    def index(self) -> dict[tuple[str, int], list[list[int]]]:
        """Positions of the only group's units, by tensor and dimension."""
        (group,) = self.couplings.groups()
        return {(part.segment, part.dim): part.index.tolist() for part in group.slices}


def test_linear_layer_produces_rows_and_consumes_columns() -> None:
    model = _Model(nn.Linear(3, 2), nn.Linear(2, 4))
    hidden = model.follow(0, torch.zeros(5, 3), None)
    assert hidden is not None
    assert (hidden.dim, hidden.atoms.tolist()) == (1, [1, 2])
    outputs = model.follow(1, torch.zeros(5, 2), hidden)
    assert outputs is not None
    model.couplings.fix(outputs.atoms)
    own = [[0], [1]]
    assert model.index() == {("0.weight", 0): own, ("0.bias", 0): own, ("1.weight", 1): own}


def test_transposed_convolution_has_its_inputs_in_the_first_dimension() -> None:
    model = _Model(nn.Conv2d(4, 2, 1), nn.ConvTranspose2d(2, 3, 2, bias=False))
    outputs = model.follow(1, torch.zeros(2, 2, 5, 5), model.follow(0, IMAGES, None))
    assert outputs is not None
    assert outputs.dim == 1
    model.couplings.fix(outputs.atoms)
    own = [[0], [1]]
    assert model.index() == {("0.weight", 0): own, ("0.bias", 0): own, ("1.weight", 0): own}


def test_depthwise_convolution_repeats_the_atoms_of_its_input() -> None:
    model = _Model(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 3, groups=2))
    axis = model.follow(1, torch.zeros(2, 2, 5, 5), model.follow(0, IMAGES, None))
    assert axis is not None
    assert axis.atoms.tolist() == [1, 1, 2, 2]


def test_grouped_convolution_is_kept_whole_with_the_units_of_its_input() -> None:
    model = _Model(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 6, 1, groups=2))
    hidden = model.follow(0, IMAGES, None)
    assert hidden is not None
    assert model.follow(1, IMAGES, hidden) is None
    assert not model.couplings.can_cut(hidden.atoms)
    assert model.couplings.first_fixed is not None
    assert model.couplings.first_fixed[0] == "1"


def test_lstm_assigns_a_row_of_each_gate_and_a_column_to_a_unit() -> None:
    model = _Model(nn.LSTM(3, 2, batch_first=True))
    axis = model.follow(0, torch.zeros(2, 5, 3), None)
    assert axis is not None
    assert axis.dim == 2
    gates = [[0, 2, 4, 6], [1, 3, 5, 7]]
    expected = {(f"0.{name}_l0", 0): gates for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    assert model.index() == {**expected, ("0.weight_hh_l0", 1): [[0], [1]]}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("options", [{"bidirectional": True}, {"proj_size": 1}])
def test_recurrent_layer_of_another_form_is_kept_whole(options: dict[str, int]) -> None:
    model = _Model(nn.Embedding(7, 3), nn.LSTM(3, 2, batch_first=True, **options))  # type: ignore[arg-type]
    embedded = model.follow(0, torch.zeros(2, 5, dtype=torch.int64), None)
    assert embedded is not None
    assert model.follow(1, torch.zeros(2, 5, 3), embedded) is None
    assert not model.couplings.can_cut(embedded.atoms)


def test_group_norm_joins_the_channels_of_a_group() -> None:
    model = _Model(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
    model.follow(1, IMAGES, model.follow(0, IMAGES, None))
    pairs = [[0, 1], [2, 3]]
    assert model.index() == {(f"{n}.{t}", 0): pairs for n in (0, 1) for t in ("weight", "bias")}


def test_batch_norm_assigns_parameters_and_running_statistics() -> None:
    model = _Model(nn.Conv2d(4, 2, 1, bias=False), nn.BatchNorm2d(2))
    model.follow(1, torch.zeros(2, 2, 5, 5), model.follow(0, IMAGES, None))
    own = [[0], [1]]
    tensors = ("weight", "bias", "running_mean", "running_var")
    assert model.index() == {("0.weight", 0): own, **{(f"1.{name}", 0): own for name in tensors}}


def test_prelu_with_one_parameter_returns_its_input_flow() -> None:
    model = _Model(nn.Conv2d(4, 4, 1), nn.PReLU())
    hidden = model.follow(0, IMAGES, None)
    assert model.follow(1, IMAGES, hidden) is hidden


def test_units_in_another_dimension_than_the_layers_are_fixed() -> None:
    model = _Model(nn.Linear(5, 3), nn.Conv2d(4, 2, 1))
    hidden = model.follow(0, IMAGES, None)
    assert hidden is not None
    assert hidden.dim == 3
    model.follow(1, torch.zeros(2, 4, 5, 3), hidden)
    assert not model.couplings.can_cut(hidden.atoms)


def test_embedding_with_a_largest_norm_is_kept_whole() -> None:
    model = _Model(nn.Embedding(7, 3, max_norm=1.0))
    assert model.follow(0, torch.zeros(2, 5, dtype=torch.int64), None) is None
    assert model.couplings.groups() == ()


def test_weight_computed_from_other_tensors_is_rejected_with_its_layer() -> None:
    model = _Model(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))
    with pytest.raises(ModelError) as caught:
        model.follow(0, torch.zeros(2, 3), None)
    assert (caught.value.field, caught.value.value) == ("model.name", "0")


def test_frozen_weight_fixes_the_units_that_it_produces() -> None:
    model = _Model(nn.Linear(3, 2, bias=False), nn.Linear(2, 2))
    model.module[0].weight.requires_grad_(False)
    model.tensors = TensorClaims(model.module, model.couplings)
    hidden = model.follow(0, torch.zeros(5, 3), None)
    assert hidden is not None
    assert not model.couplings.can_cut(hidden.atoms)
    assert model.couplings.first_fixed is not None
    assert model.couplings.first_fixed[0] == "0"
