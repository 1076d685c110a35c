"""`runtime.profile`: what the rounds' time was spent on, as metrics of each round."""

from pathlib import Path

import pytest

from orchestrator.tracking.record import METRICS
from tests.support.runs import comparable, new_driver, prepared

PROFILE = ("time/driver_", "time/client_")


def test_profile_attributes_the_time_of_a_round_and_changes_no_result(tmp_path: Path) -> None:
    plain = new_driver(prepared(), tmp_path / "plain")
    profiled = new_driver(prepared("runtime.profile=true"), tmp_path / "profiled")
    before, after = list(plain.run()), list(profiled.run())
    assert plain.params_sha256() == profiled.params_sha256()
    for record in after:
        own = {name: x for name, x in record.metrics.items() if name.startswith(PROFILE)}
        assert own.keys() <= METRICS.keys()
        assert own.keys() >= {"time/driver_wait_s", "time/driver_fold_s", "time/client_train_s"}
        assert all(seconds >= 0.0 for seconds in own.values())
        # in one process the clients train while the driver waits
        tasks_s = sum(own[f"time/client_{stage}_s"] for stage in ("decode", "train", "encode"))
        assert 0.0 < tasks_s <= own["time/driver_wait_s"]
        driver_s = sum(x for name, x in own.items() if name.startswith("time/driver_"))
        assert own["time/client_idle_s"] == pytest.approx(driver_s - tasks_s)
    names = {name for record in after for name in record.metrics if name.startswith(PROFILE)}
    rest = [(r, {k: x for k, x in metrics.items() if k not in names}) for r, metrics in comparable(after)]
    assert rest == comparable(before)
    assert not any(name.startswith(PROFILE) for record in before for name in record.metrics)


def test_profile_has_the_time_in_which_clients_score_their_models(tmp_path: Path) -> None:
    records = list(new_driver(prepared("algorithm.name=ditto", "runtime.profile=true"), tmp_path).run())
    assert any(record.metrics.get("time/client_score_s", 0.0) > 0.0 for record in records)
