"""The page "Write your own method": its example is a complete method that passes every check."""

import re
from pathlib import Path

import pytest

from algorithms import references
from orchestrator.cli.views.citations import cited_publications
from orchestrator.contract import CHECKS, contract_experiment
from orchestrator.contract.rounds import play
from orchestrator.experiment.methods import load_algorithm

PAGE = Path(__file__).parents[1] / "docs" / "write-a-method.md"


@pytest.fixture(scope="module")
def fedper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The example, saved under the name that the page gives."""
    file = tmp_path_factory.mktemp("written") / "fedper.py"
    blocks: list[str] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    file.write_text(next(block for block in blocks if "class FedPer" in block))
    return f"{file}:FedPer"


@pytest.mark.parametrize("check", CHECKS)
def test_example_passes_the_check(fedper: str, check: str) -> None:
    CHECKS[check](contract_experiment(fedper))


def test_example_names_its_publication(fedper: str) -> None:
    assert cited_publications([fedper]) == [references.FEDPER]


def test_head_is_never_sent(fedper: str) -> None:
    """The last layer of the digits' perceptron has 100 weights and a bias for each of 10 classes."""
    experiment = contract_experiment(fedper)
    for played in play(experiment):
        for model in played.models:
            assert model is not None
            assert model.mask is not None
            assert int((~model.mask).sum()) == 10 * 100 + 10
        assert played.after.params[-1010:].tolist() == experiment.initial[-1010:].tolist()


def test_page_names_every_hook(fedper: str) -> None:
    base = load_algorithm(fedper).__mro__[1]
    members = {name for name in vars(base) if not name.startswith("_")}
    named = set(re.findall(r"`(?:self\.)?(\w+)[(`]", PAGE.read_text()))
    assert sorted(members - named - {"client_update", "begin_training", "finish_training"}) == []
