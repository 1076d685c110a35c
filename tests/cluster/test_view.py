"""Actors of a run: the run and the role are parts of the actor's name."""

import pytest

from tests.support.cluster_fakes import actor


@pytest.mark.parametrize(
    ("name", "run_id", "role"),
    [
        ("feddst-20260101-120000-ab12/driver", "feddst-20260101-120000-ab12", "driver"),
        ("run-1/client-3", "run-1", "client"),
        ("run-1/pool-tier-1-8-0", "run-1", "pool"),
        ("sweep-1/trial-7/driver", "sweep-1", "trial"),
        ("alone", "alone", ""),
    ],
)
def test_name_of_an_actor_has_its_run_and_role(name: str, run_id: str, role: str) -> None:
    found = actor(name)
    assert (found.run_id, found.role) == (run_id, role)
