"""A check of methods that needs Ray: a task gives the same bits in another process.

def test_my_method(local_ray: None) -> None:
    check_same_in_other_processes(contract_experiment("my_package.my_method:MyMethod"))
"""

from typing import Any

import ray

from orchestrator.contract.digest import digest
from orchestrator.contract.rounds import play
from orchestrator.execution.client_actor import ClientActor
from orchestrator.execution.executor import TaskRequest
from orchestrator.execution.ray_sharing import SharedExperiment, share
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import ClientUpdate, Outcome


@ray.remote(num_cpus=0.5)
def _run_task(shared: SharedExperiment, job: TaskRequest, message: Any) -> Outcome[Any]:
    """Run a client's task as an actor does, in a worker process of Ray."""
    return ClientActor().run(shared, job.task, message, job.unicast, job.client_state)


def check_same_in_other_processes(experiment: Experiment) -> None:
    """Check that every client of the last round, in its probes too, sends the same bytes and keeps the same state."""
    shared = share(experiment)
    last = play(experiment)[-1]
    for played in (*last.probes, last):
        message = played.broadcast.message.buffer
        outcomes = ray.get([_run_task.remote(shared, job, message) for job in played.jobs])
        for here, there in zip(played.updates, outcomes, strict=True):
            assert isinstance(there, ClientUpdate), there
            assert there.buffer.tobytes() == here.buffer.tobytes(), (
                f"client {here.client_id} sends other bytes on Ray; store client state only in run.state"
            )
            assert digest(there.client_state) == digest(here.client_state), "its state differs on Ray"
            assert dict(there.metrics) == dict(here.metrics)
            assert (there.train_flops, there.num_examples) == (here.train_flops, here.num_examples)
