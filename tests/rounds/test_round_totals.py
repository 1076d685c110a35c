"""The event log adds up to the rounds' metrics, however rounds end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.experiment import Experiment
from tests.support.runs import REMEMBERING, drive
from tests.support.timing import (
    events,
    metrics,
    with_availability,
    with_durations,
)

#: the options of a mode, and an outcome that some of its updates have
MODES = {
    "synchronous": ((), {"used", "vanished"}),
    "losses first": (("selection.kind=power_of_choice",), {"used", "vanished"}),
    "deadline": (("fleet.deadline_s=6",), {"used", "vanished", "late"}),
    "late": (("fleet.deadline_s=6", "fleet.late=keep"), {"used", "vanished"}),
    "over-selection": (("fleet.over_selection=1.5",), {"used", "vanished", "surplus"}),
    "both": (("fleet.over_selection=1.5", "fleet.deadline_s=6"), {"used", "vanished", "surplus", "late"}),
    "fedbuff": (("asynchrony.kind=fedbuff", "asynchrony.buffer_size=3"), {"used", "vanished"}),
    "fedasync": (
        ("asynchrony.kind=fedasync", "asynchrony.max_staleness=2", "training.rounds=20"),
        {"used", "vanished", "stale"},
    ),
}
OUTCOMES = {"late": "stragglers", "surplus": "surplus", "vanished": "vanished", "stale": "stale"}


def _experiment(mode: str) -> Experiment:
    """Ten clients of ten speeds on slow lines, of which one in four vanishes; client 3 is away for a while."""
    experiment = with_durations(
        [float(k) for k in range(1, 11)],
        REMEMBERING,
        "training.clients_per_round=4",
        "training.rounds=8",
        *MODES[mode][0],
        dropout=0.25,
        uplink_bytes_per_s=2000.0,
        downlink_bytes_per_s=5000.0,
    )
    away = [(0.0, 5.0), (20.0, 1e6)]
    return with_availability(experiment, [away if k == 3 else [(0.0, 1e6)] for k in range(10)])


@pytest.mark.parametrize("mode", MODES)
def test_event_log_sums_to_the_round_metrics(tmp_path: Path, mode: str) -> None:
    experiment = _experiment(mode)
    drive(experiment, tmp_path)
    rows, log = metrics(tmp_path), events(tmp_path)
    assert len(rows) == experiment.config.training.rounds
    assert {e["outcome"] for e in log} == MODES[mode][1]
    begin_s = 0.0
    for round_idx, row in enumerate(rows):
        mine = [e for e in log if e["round_idx"] == round_idx]
        training = [e for e in mine if e["kind"] == "train"]
        assert all(e["upload_bytes"] == 40 for e in mine if e["kind"] == "loss"), (
            "only trainings are cut short"
        )
        for name in ("upload_bytes", "download_bytes"):
            assert row[f"comm/{name}"] == sum(e[name] for e in mine)
        for name in ("train_flops", "train_flops_dense"):
            assert row[f"compute/{name}"] == pytest.approx(sum(e[name] for e in mine), rel=1e-9)
        for name in ("compute_s", "compute_ideal_s"):
            assert row[f"time/{name}"] == pytest.approx(sum(e[name] for e in mine), rel=1e-9)
        used = [e for e in training if e["outcome"] == "used"]
        assert row["fleet/participants"] == len(used)
        before = rows[round_idx - 1]["fleet/in_flight"] if round_idx else 0
        num_kept = row["fleet/in_flight"] - before + sum(e["staleness"] > 0 for e in mine)
        if mode in ("fedbuff", "fedasync"):
            num_kept = 0
        for outcome, name in OUTCOMES.items():
            kept = num_kept if outcome == "late" else 0
            assert row[f"fleet/{name}"] == kept + sum(e["outcome"] == outcome for e in training)
        staleness = [e["staleness"] for e in used]
        assert row["fleet/staleness_mean"] == pytest.approx(sum(staleness) / len(staleness), rel=1e-12)
        assert row["fleet/staleness_max"] == max(staleness)
        end_s = _end_s(experiment, mode, mine, num_kept)
        assert row["time/emulated_s"] == pytest.approx(end_s - begin_s, rel=1e-9, abs=1e-9)
        assert row["time/emulated_s_total"] == pytest.approx(end_s, rel=1e-9)
        begin_s = row["time/emulated_s_total"]
    for name in ("upload_bytes", "download_bytes"):
        assert rows[-1][f"comm/{name}_total"] == sum(e[name] for e in log)


def _end_s(experiment: Experiment, mode: str, mine: Sequence[dict[str, Any]], num_kept: float) -> float:
    """When a round ends, from its events; `num_kept` of its late updates are kept, and have none yet."""
    ends_s = [float(e["at_s"]) for e in mine]
    if mode in ("fedbuff", "fedasync"):
        return ends_s[-1]
    fresh = [e for e in mine if e["kind"] == "train" and e["staleness"] == 0]
    (start_s,) = {float(e["start_s"]) for e in fresh}
    answers = sorted(e["at_s"] for e in fresh if e["outcome"] in ("used", "surplus"))
    needed = experiment.config.training.clients_per_round
    if mode in ("over-selection", "both") and len(answers) >= needed:
        return float(answers[needed - 1])
    deadline_s = experiment.config.fleet.deadline_s
    if deadline_s is None:
        return max(ends_s)
    all_answered = len(answers) == len(fresh) + num_kept
    return float(answers[-1]) if all_answered else start_s + deadline_s
