"""The page "write your own method": its last block is a whole method that keeps every promise."""

import re
from pathlib import Path

import pytest

from orchestrator.contract import CHECKS, contract_experiment
from orchestrator.contract.rounds import play
from orchestrator.experiment.methods import load_algorithm

PAGE = Path(__file__).parents[1] / "docs" / "write-a-method.md"


@pytest.fixture(scope="module")
def fedper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The method as a reader would save it, under the name that the page gives."""
    file = tmp_path_factory.mktemp("written") / "fedper.py"
    file.write_text(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[-1])
    return f"{file}:FedPer"


@pytest.mark.parametrize("check", CHECKS)
def test_the_example_keeps_the_promises(fedper: str, check: str) -> None:
    CHECKS[check](contract_experiment(fedper))


def test_the_head_stays_at_home(fedper: str) -> None:
    """The last layer of the digits' perceptron, 100 weights and a bias for each of 10 classes, never travels."""
    experiment = contract_experiment(fedper)
    for played in play(experiment):
        for model in played.models:
            assert model is not None
            assert model.mask is not None
            assert int((~model.mask).sum()) == 10 * 100 + 10
        assert played.after.params[-1010:].tolist() == experiment.initial[-1010:].tolist()


def test_every_hook_of_the_contract_is_on_the_page(fedper: str) -> None:
    base = load_algorithm(fedper).__mro__[1]
    private = {"check", "level", "max_density", "client_update", "server_metrics", "has_client_models"}
    hooks = {name for name in vars(base) if not name.startswith("_") and callable(getattr(base, name))}
    named = set(re.findall(r"`(\w+)[(`]", PAGE.read_text()))
    assert hooks - private - {"Config"} <= named
