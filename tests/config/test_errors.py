"""Errors of a config name the key, and suggest a similar key."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from algorithms.feddst import FedDSTConfig
from orchestrator.commands import command_line
from orchestrator.config.errors import as_request_error, closest_key, dotted_keys
from orchestrator.config.section import Section
from orchestrator.errors import ConfigError
from orchestrator.experiment.config import ExperimentConfig


class Inner(Section):
    """A section."""

    depth: int = Field(3, description="how deep")


class Outer(Section):
    """A tree of two levels."""

    name: Literal["a", "b"] = Field("a", description="which")
    inner: Inner = Field(Inner(), description="the section")


def _error(model: type[BaseModel], tree: dict[str, Any], prefix: str = "") -> ConfigError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(tree)
    error = as_request_error(caught.value, model, prefix)
    assert isinstance(error, ConfigError)
    return error


def test_dotted_keys_returns_description_and_default_of_each_leaf() -> None:
    assert dotted_keys(Outer) == {"name": ("which", "a"), "inner.depth": ("how deep", 3)}
    assert dotted_keys(Inner, "a.b") == {"a.b.depth": ("how deep", 3)}


def test_error_names_the_dotted_key() -> None:
    error = _error(Outer, {"inner": {"depth": "x"}})
    assert (error.field, error.value) == ("inner.depth", "x")
    assert "integer" in error.problem


def test_error_below_a_prefix_names_the_full_key() -> None:
    assert _error(Inner, {"depth": "x"}, "a.b").field == "a.b.depth"
    assert _error(Inner, {"dept": 1}, "a.b").field == "a.b.dept"


def test_long_value_is_shortened() -> None:
    assert _error(Outer, {"name": "x" * 61}).value == "x" * 57 + "..."
    assert _error(Outer, {"name": "x" * 60}).value == "x" * 60


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("training.round", "training.rounds"),
        ("training.lrr", "training.lr"),
        ("training.client_per_round", "training.clients_per_round"),
        ("training.local_epoch", "training.local_epochs"),
        ("trainig.rounds", "training.rounds"),
        ("rounds", "training.rounds"),
        ("num_clients", "fleet.num_clients"),
        ("training.num_clients", "fleet.num_clients"),
        ("lr", "training.lr"),
        ("data.alpha", "data.partition.alpha"),
        ("data.partition.alhpa", "data.partition.alpha"),
        ("sparsity.levl", "sparsity.level"),
        ("sparsity.density", "sparsity.layer_density"),
        ("wire.dtype", "wire.value_dtype"),
        ("runtime.storge", "runtime.storage"),
        ("tracking.experimnt", "tracking.experiment"),
        ("training.foo", None),
        ("data.xyz", None),
        ("zzz", None),
        ("", None),
    ],
)
def test_closest_key(key: str, meant: str | None) -> None:
    assert closest_key(key, dotted_keys(ExperimentConfig)) == meant


@pytest.mark.parametrize(
    ("tree", "field", "remedy"),
    [
        ({"training.rounds": 7}, "training.rounds", "write `training: {rounds: ...}`"),
        ({"data": {"partition.kind": "iid"}}, "data.partition.kind", "write `partition: {kind: ...}`"),
        ({"data.partition.kind": "iid"}, "data.partition.kind", "write `data: {partition: {kind: ...}}`"),
    ],
)
def test_dotted_key_in_a_file_is_rejected_with_the_nested_form(
    tree: dict[str, Any], field: str, remedy: str
) -> None:
    error = _error(ExperimentConfig, tree)
    assert (error.field, error.remedy) == (field, remedy)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("readjust_evry", "algorithm.readjust_every"),
        ("alhpa", "algorithm.alpha"),
        ("endround", "algorithm.end_round"),
        ("nu_zero", None),
        ("xyz", None),
    ],
)
def test_unknown_option_is_rejected_with_a_suggestion(option: str, meant: str | None) -> None:
    error = _error(FedDSTConfig, {option: 1}, "algorithm")
    assert error.field == f"algorithm.{option}"
    assert error.remedy == (f"did you mean '{meant}'?" if meant else f"see `{command_line('list', 'keys')}`")


@pytest.mark.parametrize(
    ("tree", "field", "meant"),
    [
        ({"training": {"rouns": 3}}, "training.rouns", "training.rounds"),
        ({"trainng": {"rounds": 3}}, "trainng", "training"),
        ({"data": {"partition": {"kid": "iid"}}}, "data.partition.kid", "data.partition.kind"),
        ({"sede": 3}, "sede", "seed"),
    ],
)
def test_unknown_key_is_rejected_with_a_suggestion(tree: dict[str, Any], field: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ExperimentConfig.parse(tree)
    assert caught.value.field == field
    assert caught.value.remedy == f"did you mean '{meant}'?"
