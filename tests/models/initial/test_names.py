"""The names of a model's tensors in a checkpoint of another code base."""

import pytest

from orchestrator.errors import ModelError
from orchestrator.models.initial.names import file_names

OWN = ("stem.weight", "layer1.0.conv.weight", "layer1.0.conv.bias", "layer10.weight", "fc.weight", "fc.bias")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"": ""}, {name: name for name in OWN}),
        ({"": "model"}, {name: f"model.{name}" for name in OWN}),
        ({"fc": "head"}, {"fc.weight": "head.weight", "fc.bias": "head.bias"}),
        ({"fc.bias": "offset"}, {"fc.bias": "offset"}),
        (
            {"layer1": "h", "layer1.0.conv.bias": None},
            {"layer1.0.conv.weight": "h.0.conv.weight"},
        ),
        (
            {"layer1.0": "", "fc": "a.b"},
            {
                "layer1.0.conv.weight": "conv.weight",
                "layer1.0.conv.bias": "conv.bias",
                "fc.weight": "a.b.weight",
                "fc.bias": "a.b.bias",
            },
        ),
        ({"": None, "stem": "x"}, {"stem.weight": "x.weight"}),
    ],
    ids=["same names", "prefix", "part", "tensor", "without one tensor", "prefix removed", "one part only"],
)
def test_names_in_the_file(names: dict[str, str | None], found: dict[str, str]) -> None:
    assert file_names(OWN, names) == found


def test_longest_key_decides_in_any_order() -> None:
    for names in ({"": "a", "fc": "b"}, {"fc": "b", "": "a"}):
        assert file_names(OWN, names)["fc.bias"] == "b.bias"


@pytest.mark.parametrize(
    ("key", "remedy"), [("layer2", "did you mean 'layer1'?"), ("fc.weights", "did you mean 'fc.weight'?")]
)
def test_key_without_tensors_is_rejected(key: str, remedy: str) -> None:
    with pytest.raises(ModelError, match=f"no tensor or part {key}") as caught:
        file_names(OWN, {key: "x"})
    assert (caught.value.field, caught.value.value) == ("model.init_names", {key: "x"})
    assert caught.value.remedy == remedy
