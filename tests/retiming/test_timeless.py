"""Which runs can be retimed: a row for each reason against it."""

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
from orchestrator.retiming.timeless import comes_and_goes, require_timeless
from tests.support.event_logs import write_run

#: overrides -> what is said
REFUSED = {
    "asynchrony.kind=fedbuff": "asynchrony.kind=fedbuff: updates count in the order in which they arrive",
    "fleet.deadline_s=90": "fleet.deadline_s=90.0: only updates that are fast enough count",
    "fleet.over_selection=1.5": "fleet.over_selection=1.5: only the fastest updates count",
    "selection.kind=available": "selection.kind=available: the time decides who is drawn",
    "algorithm.name=randommask sparsity.device_levels.default=0.5": "sparsity.device_levels={'default': 0.5}: ",
    "algorithm.name=heterofl": "algorithm.name=heterofl: under its options a client's device decides",
    "algorithm.name=fedrolex algorithm.ratio_policy=p_ucbv": "algorithm.name=fedrolex: under its options",
    "algorithm.name=fjord": "algorithm.name=fjord: under its options",
    "algorithm.name=fedlps": "algorithm.name=fedlps: under its options",
    "algorithm.name=fedlps_as_coded": "algorithm.name=fedlps_as_coded: under its options",
}
TAKEN = (
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


@pytest.mark.parametrize("words", REFUSED)
def test_a_run_that_devices_or_time_decide_is_refused(words: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", *words.split())
    with pytest.raises(ConfigError) as refused:
        retime(run, "uniform")
    line = str(refused.value)
    assert line.startswith(REFUSED[words])
    assert line.endswith("so that the run cannot be retimed; run the experiment itself on the other fleet")
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("words", TAKEN)
def test_a_run_that_they_do_not_is_taken(words: str, tmp_path: Path) -> None:
    retime(write_run(tmp_path / "run", *words.split()), "five-tier", redraw=False)


@pytest.mark.parametrize(
    ("fleet", "said"),
    [
        (
            Fleet("f", "", (profile("a"), profile("b", available_share=0.5)), (1.0, 1.0)),
            "b are there only at",
        ),
        (Fleet("f", "", (profile("a", dropout=0.1),)), "a may vanish"),
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
            "its trace says when",
        ),
    ],
)
def test_a_fleet_whose_devices_come_and_go_is_refused(fleet: Fleet, said: str, tmp_path: Path) -> None:
    assert said in str(comes_and_goes(fleet))
    with pytest.raises(ConfigError, match=f"^fleet.name=uniform: .*{said}"):
        require_timeless(ExperimentConfig(), fleet, tmp_path / "failures.jsonl")


@pytest.mark.parametrize(
    ("cause", "refused"), [("DeviceMemoryError: too large", True), ("OSError: x", False)]
)
def test_a_run_whose_devices_were_too_small_for_a_task_is_refused(
    cause: str, refused: bool, tmp_path: Path
) -> None:
    """Under `failure_policy=drop` their clients are left out; another failure has nothing to do with the device."""
    run = write_run(tmp_path / "run")
    failure = ClientFailure(round_idx=0, position=3, client_id=1, stage="train", cause=cause)
    (run / "failures.jsonl").write_text(failure.to_line() + "\n")
    if refused:
        with pytest.raises(
            ConfigError, match=r"^fleet\.name=uniform: clients whose devices had too little memory"
        ):
            retime(run, "uniform")
    else:
        retime(run, "uniform")


def test_a_trace_of_speeds_alone_is_no_obstacle(tmp_path: Path) -> None:
    devices = Devices(profile=np.zeros(1, np.int32), speeds=np.ones((1, 3)))
    fleet = Fleet("f", "", (profile("a"),), devices=devices)
    assert comes_and_goes(fleet) is None
    require_timeless(ExperimentConfig(), fleet, tmp_path / "failures.jsonl")


def test_an_unknown_fleet_is_refused_by_the_name_of_the_option(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"^--fleet=five-tiers: .*did you mean 'five-tier'\?"):
        retime(write_run(tmp_path / "run"), "five-tiers")
