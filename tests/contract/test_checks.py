"""The checks of methods: every registered method passes, and each check detects a method that breaks its rule."""

import pytest

from orchestrator.contract import CHECKS, contract_experiment
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from tests.support.method_variants import NAMES, VARIANTS


def _experiment(variant: str) -> Experiment:
    name, options = VARIANTS[variant]
    return contract_experiment(name, [f"{key}={value}" for key, value in options.items()])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(
            variant,
            marks=[] if variant in NAMES else [pytest.mark.thorough],
        )
        for variant in VARIANTS
    ],
)
def test_registered_method_passes(variant: str, check: str) -> None:
    CHECKS[check](_experiment(variant))


@pytest.mark.parametrize("variant", VARIANTS)
def test_resolved_config_gives_the_same_experiment(variant: str) -> None:
    """A run stores its config with all defaults, and a resumed run uses the stored config."""
    experiment = _experiment(variant)
    again = ExperimentConfig.parse(experiment.config.to_dict())
    assert again == experiment.config
    samples = experiment.dataset, experiment.partition
    assert prepare(again, samples).fingerprint() == experiment.fingerprint()


@pytest.mark.parametrize(
    ("name", "check", "message"),
    [
        ("Remembers", "pickled copy is the same", "{'num_rounds'}"),
        ("Unseeded", "deterministic", "the update of client .* differs"),
        ("SharesAcrossRuns", "deterministic", "the update of client .* differs"),
        ("RemembersInTheProcess", "independent of the process", "a new process gives another update"),
        ("WritesIntoTheState", "inputs are not changed", "a server hook wrote into the state"),
        ("WritesIntoTheReceived", "inputs are not changed", "a client hook wrote into the received model"),
        ("WritesIntoTheClientState", "inputs are not changed", "a client hook wrote into the received model"),
        ("StepsOutOfTheMask", "masked weights stay zero after every step", "step 1 gave .* weights outside"),
        ("LeavesTheServerDense", "masked weights stay zero after every step", "the server state has weights"),
        ("SendsTooMuch", "payloads are within their density", "weights sent"),
        ("ScoringWritesIntoTheClientState", "scoring changes nothing", "wrote into the client's state"),
        ("ScoringChangesTheProcess", "scoring changes nothing", "changes its next update"),
        ("ScoresAnotherModelEachTime", "scoring changes nothing", "two scores of the same client differ"),
    ],
)
def test_broken_method_is_detected(name: str, check: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        CHECKS[check](contract_experiment(f"tests.support.broken_methods:{name}"))


def test_state_of_an_unsupported_type_is_detected() -> None:
    with pytest.raises(TypeError, match=r"history .*list"):
        CHECKS["states survive a checkpoint"](contract_experiment("tests.support.broken_methods:KeepsAList"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", ["Masked", "Personal"])
def test_correct_user_method_passes(name: str, check: str) -> None:
    CHECKS[check](contract_experiment(f"tests.support.broken_methods:{name}"))
