"""The record of a job."""

from typing import get_args

import pytest

from orchestrator.cluster.jobs import Job, JobState


@pytest.mark.parametrize("state", get_args(JobState))
def test_job_has_ended_unless_it_waits_or_runs(state: JobState) -> None:
    assert Job(job_id="run-1", state=state).ended == (state not in ("PENDING", "RUNNING"))
