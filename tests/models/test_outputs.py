"""Models with several outputs: the logits among them, and a run that trains with them."""

import pickle
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from orchestrator.contract.rounds import play
from orchestrator.errors import ModelError
from orchestrator.models.outputs import ChosenOutput
from tests.support.fakes import assert_same_params, experiment
from tests.support.runs import fresh

LOGITS, OTHER = torch.ones(2, 3), torch.zeros(2, 5)
Named = namedtuple("Named", "logits aux")


@dataclass
class Record:
    """Outputs as libraries return them."""

    logits: Tensor
    features: Tensor


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        (LOGITS, "0"),
        ((LOGITS, OTHER), "0"),
        ([OTHER, LOGITS], "1"),
        ({"aux": OTHER, "logits": LOGITS}, "logits"),
        (Named(LOGITS, OTHER), "logits"),
        (Named(LOGITS, OTHER), "0"),
        (Record(LOGITS, OTHER), "logits"),
    ],
    ids=["one tensor", "tuple", "list", "mapping", "named tuple", "position in a named tuple", "record"],
)
def test_chosen_output_replaces_all_outputs(outputs: object, output: str) -> None:
    hook = pickle.loads(pickle.dumps(ChosenOutput(output)))  # noqa: S301
    assert hook(nn.Identity(), (), outputs) is LOGITS


@pytest.mark.parametrize(
    ("outputs", "output", "remedy"),
    [
        ((LOGITS, OTHER), "2", "choose from 0, 1"),
        ({"logits": LOGITS}, "logit", "did you mean 'logits'?"),
        (None, "0", "create one first, none exists yet"),
    ],
)
def test_output_that_does_not_exist_is_rejected(outputs: object, output: str, remedy: str) -> None:
    with pytest.raises(ModelError) as caught:
        ChosenOutput(output)(nn.Identity(), (), outputs)
    assert (caught.value.field, caught.value.value, caught.value.remedy) == ("model.output", output, remedy)


MODEL = "tests.support.models:two_heads"


def test_model_with_two_heads_trains_like_the_same_model_with_one() -> None:
    """Its heads are the same layer, and the second one gets no loss."""
    two = experiment({"model.name": MODEL, "model.output": "0"})
    one = experiment({"model.name": "tests.support.models:linear"})
    assert two.setting.layout.size == one.setting.layout.size
    assert_same_params(play(two, 2), play(one, 2))


def test_model_with_several_outputs_is_rejected_with_the_key() -> None:
    with pytest.raises(ModelError, match=r"tuple.*model\.output") as caught:
        fresh(f"model.name={MODEL}")
    assert caught.value.field == "model.name"
    with pytest.raises(ModelError, match="choose from 0, 1") as caught:
        fresh(f"model.name={MODEL}", "model.output=4")
    assert caught.value.field == "model.output"
