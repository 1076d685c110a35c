"""The executor of a trial; `test_trainable.py` and the integration tests use it with client actors."""

from orchestrator.execution.executor import InProcessExecutor
from orchestrator.sweeping.tune.client_actors import TrialClients
from tests.support.runs import prepared


def test_trial_without_a_placement_trains_in_its_process() -> None:
    clients = TrialClients("sweep")
    executor = clients.executor(prepared(), None, None)
    assert isinstance(executor, InProcessExecutor)
    clients.end()
