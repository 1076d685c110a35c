"""Which runs can be retimed: one case for each reason why a run cannot."""

from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError, RequestError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.update import ClientFailure
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.fleets import Fleet
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.retiming import retime
from orchestrator.retiming.eligibility import availability_limit, require_retimable
from tests.support.event_logs import write_run

#: overrides -> field and value of the error
REJECTED: dict[str, tuple[str, object]] = {
    "asynchrony.kind=fedbuff": ("asynchrony.kind", "fedbuff"),
    "fleet.deadline_s=90": ("fleet.deadline_s", 90.0),
    "fleet.over_selection=1.5": ("fleet.over_selection", 1.5),
    "selection.kind=available": ("selection.kind", "available"),
    "algorithm.name=randommask sparsity.device_levels.default=0.5": (
        "sparsity.device_levels",
        {"default": 0.5},
    ),
    "algorithm.name=heterofl": ("algorithm.name", "heterofl"),
    "algorithm.name=fedrolex algorithm.ratio_policy=p_ucbv": ("algorithm.name", "fedrolex"),
    "algorithm.name=fjord": ("algorithm.name", "fjord"),
    "algorithm.name=fedlps": ("algorithm.name", "fedlps"),
    "algorithm.name=fedlps_as_coded": ("algorithm.name", "fedlps_as_coded"),
}
ACCEPTED = (
    "training.with_replacement=true",
    "selection.kind=samples",
    "fleet.redraw=true",
    "fleet.name=five-tier",
    "algorithm.name=ssfl",
    "algorithm.name=randommask sparsity.level=0.5",
    "algorithm.name=heterofl algorithm.ratio_policy=fixed algorithm.ratio=0.5",
    "algorithm.name=fedlps algorithm.ratio_policy=fixed",
)


def profile(name: str, *, available_share: float = 1.0, dropout: float = 0.0) -> DeviceProfile:
    return DeviceProfile(
        name=name,
        flops_per_s=1e9,
        uplink_bytes_per_s=1e6,
        downlink_bytes_per_s=1e6,
        available_share=available_share,
        dropout=dropout,
    )


@pytest.mark.parametrize("overrides", REJECTED)
def test_retime_rejects_a_run_whose_result_depends_on_devices_or_time(overrides: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *overrides.split())
    with pytest.raises(ConfigError) as caught:
        retime(run, "uniform")
    assert (caught.value.field, caught.value.value) == REJECTED[overrides]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("overrides", ACCEPTED)
def test_retime_accepts_a_run_whose_result_is_independent_of_devices(overrides: str, tmp_path: Path) -> None:
    retime(write_run(tmp_path / "run", *overrides.split()), "five-tier", redraw=False)


@pytest.mark.parametrize(
    ("fleet", "token"),
    [
        (
            Fleet("f", "", (profile("a"), profile("b", available_share=0.5)), (1.0, 1.0)),
            "devices b ",
        ),
        (Fleet("f", "", (profile("a", dropout=0.1),)), "devices a "),
        (
            Fleet(
                "f",
                "",
                (profile("a"),),
                devices=Devices(
                    profile=np.zeros(1, np.int32),
                    first=np.array([0, 1], np.int64),
                    intervals=np.array([[0.0, 9.0]]),
                ),
            ),
            "trace",
        ),
    ],
)
def test_retime_rejects_a_run_on_devices_that_are_not_always_available(
    fleet: Fleet, token: str, tmp_path: Path
) -> None:
    assert token in str(availability_limit(fleet))
    with pytest.raises(ConfigError) as caught:
        require_retimable(ExperimentConfig(), fleet, tmp_path / "failures.jsonl")
    assert (caught.value.field, caught.value.value) == ("fleet.name", "uniform")
    assert token in caught.value.problem


@pytest.mark.parametrize(
    ("cause", "rejected"), [("DeviceMemoryError: too large", True), ("OSError: x", False)]
)
def test_retime_rejects_a_run_in_which_a_device_had_too_little_memory(
    cause: str, rejected: bool, tmp_path: Path
) -> None:
    """With `failure_policy=drop`, rounds leave out such clients. Other failures do not depend on the device."""
    run = write_run(tmp_path / "run")
    failure = ClientFailure(round_idx=0, position=3, client_id=1, stage="train", cause=cause)
    (run / "failures.jsonl").write_text(failure.to_line() + "\n")
    if rejected:
        with pytest.raises(ConfigError) as caught:
            retime(run, "uniform")
        assert (caught.value.field, caught.value.value) == ("fleet.name", "uniform")
        assert "memory" in caught.value.problem
    else:
        retime(run, "uniform")


def test_retime_accepts_a_trace_of_speeds_without_availability(tmp_path: Path) -> None:
    devices = Devices(profile=np.zeros(1, np.int32), speeds=np.ones((1, 3)))
    fleet = Fleet("f", "", (profile("a"),), devices=devices)
    assert availability_limit(fleet) is None
    require_retimable(ExperimentConfig(), fleet, tmp_path / "failures.jsonl")


def test_retime_reports_an_unknown_fleet_under_the_name_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        retime(write_run(tmp_path / "run"), "five-tiers")
    assert (caught.value.field, caught.value.value) == ("--fleet", "five-tiers")
